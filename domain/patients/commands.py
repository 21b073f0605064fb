"""What is done to patients: registering, correcting, admitting, seeing them at another site."""

import datetime as dt
import re
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, Outcome, record
from domain.constraints import refusals
from domain.errors import DomainError, Invalid, NotFound
from domain.keys import Sealer, next_number
from domain.locks import hold
from domain.model import new_id
from domain.organization import Place, clinic_of, require_zone
from domain.patients.demographics import Demographics, checked, name_key
from domain.patients.record import COPIED, Patient, PatientSite
from domain.plain_text import identifier, line, optional_identifier
from domain.versions import change

NATIONAL_ID = "patient.national_id_sealed"
FORMER_NAMES_KEPT = 20
SERIES = re.compile(r"[0-9]{8,}")
"""What the numbers of the tenant's own series look like."""


class NoMatch(DomainError):
    """Nobody matches on all that was given. Which part differs is not said.

    The attempt is on record: the transaction holds nothing else and is to be committed.
    """

    code = "NO_MATCH"
    attempted = "patient:admit"

    def __init__(self) -> None:
        super().__init__("No patient matches record number, birth date and family name.")


class AlreadyRegistered(DomainError):
    """Another patient of the health system has this record number."""

    code = "ALREADY_REGISTERED"
    constraints = ("uq_patient_mrn",)
    field = "mrn"

    def __init__(self) -> None:
        super().__init__("Another patient has this identifier.", path=(self.field,))


class NationalIdTaken(AlreadyRegistered):
    """Another patient of the health system has this national identifier."""

    constraints = ("uq_patient_national_id",)
    field = "nationalId"


@dataclass(frozen=True)
class Mrn:
    """A medical record number that was given out elsewhere. `assigner` names that system (a URI).

    Empty: the health system itself, before it used this product. Such a number must not look like one of the series.
    """

    assigner: str
    value: str


async def register(
    session: AsyncSession,
    agent: Agent,
    sealer: Sealer,
    place: Place,
    demographics: Demographics,
    *,
    mrn: Mrn | None = None,
    patient_id: uuid.UUID | None = None,
) -> Patient:
    """Make a patient who is seen at `place`. Without `mrn` the tenant's own series gives the number.

    Raises Invalid, AlreadyRegistered. Writes patient, patient_site, counter.
    """
    clinic_id = clinic_of(place)
    columns = checked(demographics, agent.now.date())
    await require_zone(session, columns.get("zone"))
    for field, path in (("family_name", "familyName"), ("given_name", "givenName")):
        if field not in columns:
            raise Invalid("A patient has a name.", path=(path,))
    key = patient_id or new_id()
    columns |= sealed_identifier(sealer, key, demographics)
    columns |= await record_number(session, agent, mrn)
    patient = Patient(
        tenant_id=agent.tenant_id, id=key, **{"sensitivity": 0, "active": True} | columns
    )
    # Sites first: a patient without a visible site is invisible, and an invisible row cannot be inserted.
    await see(session, agent, key, place, copies(patient))
    session.add(patient)
    with refusals():
        await session.flush()
    record(session, agent, "patient:create", patient.id, clinic_id=clinic_id)
    return patient


async def update_demographics(
    session: AsyncSession,
    agent: Agent,
    sealer: Sealer,
    patient: Patient,
    version: int,
    changes: Demographics,
) -> Patient:
    """Change what is given, here and in the copies at all sites. A changed name is kept among the former ones.

    Raises Invalid, AlreadyRegistered, StaleVersion. Writes patient, and patient_site by `copy_to_sites`.
    """
    columns = checked(changes, agent.now.date(), values_of(patient))
    await require_zone(session, columns.get("zone"))
    columns |= sealed_identifier(sealer, patient.id, changes)
    columns |= former_names(patient, columns, agent.now)
    await hold(session, "patient", patient.tenant_id, patient.id)
    with refusals():
        changed = await change(session, agent, patient, version, **columns)
    await copy_to_sites(session, agent, changed.id)
    record(session, agent, "patient:update", changed.id)
    return changed


async def admit(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    mrn: str,
    birth_date: dt.date,
    family_name: str,
) -> Patient:
    """Find a patient of the health system whom the asker may not see, and see them at `place` from now on.

    All three must match exactly (the name folded). Raises NoMatch otherwise, in any case the same, and for a
    patient of raised sensitivity; Invalid for what is no number or name at all. Writes patient_site.
    """
    clinic_id = clinic_of(place)
    found = await session.scalar(
        select(
            func.find_for_admission(
                agent.tenant_id,
                place.id,
                identifier(mrn, "mrn", maximum=64),
                birth_date,
                name_key(line(family_name, "familyName")),
                type_=Uuid(),
            )
        )
    )
    if found is None:
        record(session, agent, "patient:admit", clinic_id=clinic_id, outcome=Outcome.FAILED)
        await session.flush()
        raise NoMatch()
    await hold(session, "patient", agent.tenant_id, found, shared=True)
    # The patient's row shows itself only where a site does; what is not known yet is copied right after.
    known = {
        "family_key": name_key(family_name),
        "given_key": "",
        "birth_date": birth_date,
        "sensitivity": 0,
        "active": True,
    }
    await see(session, agent, found, place, known)
    await copy_to_sites(session, agent, found)
    patient = await session.get(
        Patient, {"tenant_id": agent.tenant_id, "id": found}, populate_existing=True
    )
    if patient is None:
        raise NoMatch()
    record(session, agent, "patient:admit", patient.id, clinic_id=clinic_id)
    return patient


async def add_site(session: AsyncSession, agent: Agent, patient: Patient, place: Place) -> Patient:
    """See a patient whom the asker sees at one more clinic or department. Twice is once. Writes patient_site."""
    clinic_id = clinic_of(place)
    await hold(session, "patient", agent.tenant_id, patient.id, shared=True)
    await session.refresh(patient)
    await see(session, agent, patient.id, place, copies(patient))
    record(session, agent, "patient:add_site", patient.id, place.id, clinic_id=clinic_id)
    return patient


@dataclass(frozen=True)
class Seen:
    """A patient at a place: what rows about them there take over."""

    clinic_id: uuid.UUID
    unit_id: uuid.UUID
    patient_id: uuid.UUID
    sensitivity: int


async def seen_at(session: AsyncSession, agent: Agent, patient_id: uuid.UUID, place: Place) -> Seen:
    """The patient at `place`; a department's site is made where it is missing and the clinic's is visible.

    Raises NotFound where the asker sees the patient at neither. For other commands: leaves no audit event of its
    own. Writes patient_site. (Who looks with a grant at the clinic sees the clinic's sites, not the departments'.)
    """
    clinic_id = clinic_of(place)
    site = await site_at(session, agent, patient_id, place.id)
    if site is None and place.id != clinic_id:
        await hold(session, "patient", agent.tenant_id, patient_id, shared=True)
        site = await site_at(session, agent, patient_id, clinic_id)
        if site is not None:
            await see(session, agent, patient_id, place, copies(site))
    if site is None:
        raise NotFound(path=("patientId",))
    return Seen(clinic_id, place.id, patient_id, site.sensitivity)


async def sites_visible(
    session: AsyncSession, agent: Agent, patient_id: uuid.UUID
) -> list[PatientSite]:
    """The sites at which the session shows the patient: what the policy judges them by."""
    found = await session.scalars(
        select(PatientSite).where(
            PatientSite.tenant_id == agent.tenant_id, PatientSite.patient_id == patient_id
        )
    )
    return list(found)


async def site_at(
    session: AsyncSession, agent: Agent, patient_id: uuid.UUID, unit_id: uuid.UUID
) -> PatientSite | None:
    """The patient's row at this very unit, as far as the session shows it."""
    return await session.scalar(
        select(PatientSite).where(
            PatientSite.tenant_id == agent.tenant_id,
            PatientSite.unit_id == unit_id,
            PatientSite.patient_id == patient_id,
        ),
        execution_options={"populate_existing": True},
    )


async def see(
    session: AsyncSession,
    agent: Agent,
    patient_id: uuid.UUID,
    place: Place,
    copied: dict[str, Any],
) -> None:
    """Write the site at `place` where it is missing; a department's brings its clinic's along.

    Who has a role at the department alone cannot write the clinic's: `make_clinic_site` (migration 0009) does.
    """
    key = {"tenant_id": agent.tenant_id, "unit_id": place.id, "patient_id": patient_id}
    row = key | copied | {"clinic_id": clinic_of(place)}
    await session.execute(insert(PatientSite).values(row).on_conflict_do_nothing())
    if place.id != place.clinic_id:
        beside = func.make_clinic_site(agent.tenant_id, patient_id, place.id, type_=Integer())
        await session.execute(select(beside))


async def copy_to_sites(session: AsyncSession, agent: Agent, patient_id: uuid.UUID) -> None:
    """Bring the copies at all sites up to the patient's row, also where the asker cannot look."""
    await session.execute(select(func.copy_to_sites(agent.tenant_id, patient_id, type_=Integer())))


def copies(row: Patient | PatientSite) -> dict[str, Any]:
    """The columns that a site repeats of its patient."""
    return {column: getattr(row, column) for column in COPIED}


def values_of(patient: Patient) -> dict[str, Any]:
    """The patient's present demographics, by the names of `Demographics`."""
    return {field: getattr(patient, field, None) for field in Demographics.__annotations__}


def former_names(patient: Patient, columns: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    """The list of former names, longer by the present one when that changes; newest first."""
    changed = any(
        field in columns and columns[field] != getattr(patient, field)
        for field in ("family_name", "given_name")
    )
    if not changed:
        return {}
    present = {
        "family": patient.family_name,
        "given": patient.given_name,
        "until": now.date().isoformat(),
    }
    earlier = (patient.former_names or {}).get("names", [])
    return {"former_names": {"names": [present, *earlier][:FORMER_NAMES_KEPT]}}


def sealed_identifier(sealer: Sealer, patient_id: uuid.UUID, given: Demographics) -> dict[str, Any]:
    """The two columns of a national identifier: sealed, and the index that finds it; none if none is given."""
    if "national_id" not in given:
        return {}
    raw = given["national_id"]
    if not raw or not raw.strip():
        return {"national_id_sealed": None, "national_id_index": None}
    plain = identifier(raw, "nationalId", maximum=40)
    same = "".join(c for c in plain.upper() if c.isalnum())
    if not same:
        raise Invalid("An identifier has letters or digits.", path=("nationalId",))
    return {
        "national_id_sealed": sealer.seal(NATIONAL_ID, patient_id, plain.encode()),
        "national_id_index": sealer.index(same.encode()),
    }


async def record_number(session: AsyncSession, agent: Agent, given: Mrn | None) -> dict[str, str]:
    """The columns of the medical record number."""
    if given is not None:
        value = identifier(given.value, "mrn", maximum=64)
        if not given.assigner and SERIES.fullmatch(value):
            raise Invalid(
                "Numbers of eight and more digits are given out in order: leave it out.",
                path=("mrn",),
                code="RESERVED_NUMBER",
            )
        assigner = optional_identifier(given.assigner, "mrn", maximum=500)
        return {"mrn_assigner": assigner or "", "mrn": value}
    return {"mrn_assigner": "", "mrn": f"{await next_number(session, agent, 'mrn'):08d}"}
