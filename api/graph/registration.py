"""Registering patients, correcting their demographics, and seeing them at further sites."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated, Any, cast

import strawberry

from api.graph.patients import Patient
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform
from domain.patients import Channel, Demographics, Mrn, Sex, update_demographics
from domain.patients import add_site as add_site_command
from domain.patients import admit as admit_command
from domain.patients import register as register_command

PATIENT = Payload("patient", "Patient")
UNSET = strawberry.UNSET


@strawberry.input(
    description="What is known of a patient; a field that is left out says nothing, null takes it away."
)
class DemographicsInput:
    family_name: str | None = strawberry.field(default=UNSET, description="Family name.")
    given_name: str | None = strawberry.field(default=UNSET, description="Given names.")
    preferred_name: str | None = strawberry.field(
        default=UNSET, description="What the patient wants to be called."
    )
    birth_date: dt.date | None = strawberry.field(default=UNSET, description="Date of birth.")
    sex: Sex | None = strawberry.field(default=UNSET, description="Administrative sex.")
    gender_identity: str | None = strawberry.field(default=UNSET, description="Gender identity.")
    phone: str | None = strawberry.field(
        default=UNSET, description="Telephone, E.164 or as written in the country of the address."
    )
    email: str | None = strawberry.field(default=UNSET, description="E-mail address.")
    language: str | None = strawberry.field(
        default=UNSET, description="Preferred language (BCP 47)."
    )
    address_line: str | None = strawberry.field(default=UNSET, description="Street and number.")
    city: str | None = strawberry.field(default=UNSET, description="City.")
    postal_code: str | None = strawberry.field(default=UNSET, description="Postal code.")
    country: str | None = strawberry.field(
        default=UNSET, description="Country (ISO 3166-1 alpha-2)."
    )
    zone: str | None = strawberry.field(
        default=UNSET, description="IANA time zone, where it is not the clinic's."
    )
    reminder_opt_outs: list[Channel] | None = strawberry.field(
        default=UNSET, description="By what the patient wants no reminders; all of them anew."
    )
    deceased_on: dt.date | None = strawberry.field(default=UNSET, description="Date of death.")
    national_id: str | None = strawberry.field(
        default=UNSET, description="National identifier; stored sealed, never answered."
    )


@strawberry.input(description="A new patient.")
class RegisterPatientInput:
    unit: strawberry.ID = strawberry.field(
        description="The clinic or department where they are seen."
    )
    demographics: DemographicsInput = strawberry.field(description="What is known of them.")
    mrn: str | None = strawberry.field(
        default=None,
        description="Their record number, where they have one; else the next is given.",
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A change of a patient's demographics.")
class UpdatePatientInput:
    id: strawberry.ID = strawberry.field(description="The patient.")
    version: int = strawberry.field(description="The version that the change is based on.")
    demographics: DemographicsInput = strawberry.field(description="What changes.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(
    description="Somebody known to the health system who comes to a clinic for the first time."
)
class AdmitPatientInput:
    unit: strawberry.ID = strawberry.field(
        description="The clinic or department where they are now."
    )
    mrn: str = strawberry.field(description="Their record number, exact.")
    birth_date: dt.date = strawberry.field(description="Their date of birth, exact.")
    family_name: str = strawberry.field(description="Their family name.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A further site of a patient that you see.")
class AddPatientSiteInput:
    patient: strawberry.ID = strawberry.field(description="The patient.")
    unit: strawberry.ID = strawberry.field(description="The further clinic or department.")
    idempotency_key: str | None = idempotency_key()


@value_type("The registered patient.")
class RegisterPatientPayload:
    patient: Patient | None = strawberry.field(description="The patient.")
    user_errors: list[UserError] = payload_errors()


@value_type("The corrected patient.")
class UpdatePatientPayload:
    patient: Patient | None = strawberry.field(description="The patient.")
    user_errors: list[UserError] = payload_errors()


@value_type("The admitted patient.")
class AdmitPatientPayload:
    patient: Patient | None = strawberry.field(description="The patient.")
    user_errors: list[UserError] = payload_errors()


@value_type("The patient with the further site.")
class AddPatientSitePayload:
    patient: Patient | None = strawberry.field(description="The patient.")
    user_errors: list[UserError] = payload_errors()


def demographics(given: DemographicsInput) -> Demographics:
    """What the caller said, under the domain's names."""
    said = {name: value for name, value in vars(given).items() if value is not UNSET}
    if said.get("sex") is not None:
        said["sex"] = said["sex"].value
    elif "sex" in said:
        said["sex"] = "unknown"
    return cast("Demographics", said)


def patient_at(work: Work, patient_id: uuid.UUID, unit: Any) -> tuple[Any, list[Any]]:
    """A patient as the policy will see them at a place where they have no row yet."""
    tenant_id = work.agent.tenant_id
    who = SimpleNamespace(tenant_id=tenant_id, id=patient_id, sensitivity=0)
    site = SimpleNamespace(
        tenant_id=tenant_id, patient_id=patient_id, clinic_id=unit.clinic_id, unit_id=unit.id
    )
    return who, [site]


@strawberry.type
class Mutation:
    @root("patient:create", "Register a patient who is new to the health system.")
    async def register_patient(
        self, info: Info, input: Annotated[RegisterPatientInput, GIVEN]
    ) -> RegisterPatientPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            agent = await work.create("patient:create", patient_at(work, work.new_id, unit))
            made = await register_command(
                work.session,
                agent,
                await work.sealer(),
                unit,
                demographics(input.demographics),
                mrn=None if input.mrn is None else Mrn("", input.mrn),
                patient_id=work.new_id,
            )
            return made.id

        return await perform(
            info._raw_info, "registerPatient", PATIENT, input, command, nested="demographics"
        )

    @root("patient:update", "Correct a patient's demographics, from any site where you may.")
    async def update_patient(
        self, info: Info, input: Annotated[UpdatePatientInput, GIVEN]
    ) -> UpdatePatientPayload | None:
        async def command(work: Work) -> uuid.UUID:
            patient, sites = await work.patient(input.id, "id")
            agent = await work.require("patient:update", (patient, sites))
            await update_demographics(
                work.session,
                agent,
                await work.sealer(),
                patient,
                input.version,
                demographics(input.demographics),
            )
            return patient.id

        return await perform(
            info._raw_info, "updatePatient", PATIENT, input, command, nested="demographics"
        )

    @root(
        "patient:admit",
        "See a patient of the health system here for the first time: record number, birth date and family name must match.",
    )
    async def admit_patient(
        self, info: Info, input: Annotated[AdmitPatientInput, GIVEN]
    ) -> AdmitPatientPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            agent = await work.create("patient:admit", patient_at(work, work.new_id, unit))
            await work.count("patient:admit")
            found = await admit_command(
                work.session, agent, unit, input.mrn, input.birth_date, input.family_name
            )
            return found.id

        return await perform(info._raw_info, "admitPatient", PATIENT, input, command)

    @root(
        "patient:add_site", "Let a patient whom you see be seen at a further clinic or department."
    )
    async def add_patient_site(
        self, info: Info, input: Annotated[AddPatientSiteInput, GIVEN]
    ) -> AddPatientSitePayload | None:
        async def command(work: Work) -> uuid.UUID:
            patient, _ = await work.patient(input.patient, "patient")
            unit = work.unit(input.unit, "unit")
            agent = await work.create("patient:add_site", patient_at(work, patient.id, unit))
            await add_site_command(work.session, agent, patient, unit)
            return patient.id

        return await perform(info._raw_info, "addPatientSite", PATIENT, input, command)
