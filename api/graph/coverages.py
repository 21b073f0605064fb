"""Payers, and what they cover: read, recorded and corrected."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Uuid, select

from api.graph.encounters import local_id
from api.graph.organization import OrgUnit, clinic_of
from api.graph.patients import Patient, patient_of, prefix
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, After, Connection, First, Info, Node, root, value_type
from api.plan.compile import Compiler
from api.plan.fetch import listed, page
from api.plan.mapping import Row, attribute, column, computed, enum_name, joined, one, table
from api.plan.page import Listing
from api.plan.write import Payload, Work, perform
from domain.billing import Coverage as Coverages
from domain.billing import (
    CoverageTerms,
    FinancialState,
    Relationship,
    add_payer,
    change_coverage,
    change_payer,
    record_coverage,
)
from domain.billing import Payer as Payers
from domain.errors import Invalid
from domain.patients import fold

strawberry.enum(
    FinancialState, name="FinancialState", description="FHIR status of coverages and claims."
)
strawberry.enum(
    Relationship,
    name="SubscriberRelationship",
    description="What the patient is to the subscriber, by FHIR.",
)
PAYERS = Listing(Payers, "payer", "name_key", Payers)
PAYER = Payload("payer", "Payer")
COVERAGE = Payload("coverage", "Coverage")


@table(Payers, description="Who pays claims: an insurance company or a programme.")
class Payer(Node):
    name: str | None = column("read", "What it is called.")
    identifier_system: str | None = column("read", "Whose list of payers has the identifier.")
    identifier: str | None = column("read", "The payer id.")
    active: bool | None = column("read", "False once it is no longer in use.")
    version: int | None = column("read", "Rises with every change.")


@table(Coverages, description="A payer pays for a patient, from a day to a day.")
class Coverage(Node):
    priority: int | None = column("read", "1 is asked first.")
    member_id: str | None = column("read", "The member number on the card.")
    group_number: str | None = column("read", "The group on the card.")
    relationship: Relationship | None = computed(
        "read", "What the patient is to the subscriber.", lambda c, *_: enum_name(c.relationship)
    )
    state: FinancialState | None = computed(
        "read", "Where it stands.", lambda c, *_: enum_name(c.state)
    )
    starts_on: dt.date | None = column("read", "The first day; null where nobody knows.")
    ends_on: dt.date | None = column("read", "The last day; null without end.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", joined("id", "payer_id"))
    def payer(self) -> Payer | None:
        """Who pays."""

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """Who is covered."""

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """Where it was recorded; it serves claims of this clinic."""


def _named(words: str | None) -> Any:
    def build(row: Row, c: Compiler, _walks: bool) -> list[ColumnElement[bool]]:
        return [prefix(attribute(row, "name_key"), c.binds.value("words"))] if words else []

    return build


@strawberry.type
class Query:
    @root("payer:read", "Payers by name.")
    async def payers(
        self,
        info: Info,
        search: Annotated[str | None, strawberry.argument(description="Start of the name.")] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Payer] | None:
        words = fold(search) if search is not None else None
        if words == "":
            raise Invalid("A search needs at least one letter or digit.", path=("search",))
        return await page(
            info._raw_info,
            PAYERS,
            node=None,
            first=first,
            after=after,
            filters=_named(words),
            values={"words": words},
        )

    @root("coverage:read", "Coverages of a patient that you may see, the first to be asked first.")
    async def coverages(
        self,
        info: Info,
        patient: Annotated[strawberry.ID, strawberry.argument(description="Whose.")],
    ) -> list[Coverage] | None:
        good, patient_id = local_id(patient, "Patient")
        if not good:
            return None
        return await listed(
            info._raw_info,
            Coverage,
            rows=lambda c, row: select(row).where(
                row.patient_id == c.binds.value("patient", Uuid())
            ),
            order=lambda row: [row.priority, row.starts_on.desc(), row.id],
            values={"patient": patient_id},
        )


@strawberry.input(description="What the card says.")
class CoverageTermsInput:
    payer: strawberry.ID = strawberry.field(description="Who pays.")
    priority: int = strawberry.field(description="1 is asked first; 1 to 9.")
    member_id: str = strawberry.field(description="The member number.")
    starts_on: dt.date = strawberry.field(description="The first day.")
    ends_on: dt.date | None = strawberry.field(default=None, description="The last day.")
    group_number: str | None = strawberry.field(default=None, description="The group.")
    relationship: Relationship = strawberry.field(
        default=Relationship.SELF, description="What the patient is to the subscriber."
    )


@strawberry.input(description="A coverage of a patient.")
class RecordCoverageInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department that saw it.")
    patient: strawberry.ID = strawberry.field(description="Who is covered.")
    terms: CoverageTermsInput = strawberry.field(description="What the card says.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A coverage as it is right.")
class ChangeCoverageInput:
    id: strawberry.ID = strawberry.field(description="The coverage.")
    version: int = strawberry.field(description="The version that the change is based on.")
    terms: CoverageTermsInput = strawberry.field(description="All that the card says.")
    state: FinancialState = strawberry.field(
        default=FinancialState.ACTIVE, description="Where it stands."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A payer for the list.")
class AddPayerInput:
    name: str = strawberry.field(description="What it is called.")
    identifier_system: str | None = strawberry.field(
        default=None, description="Whose list has the identifier."
    )
    identifier: str | None = strawberry.field(default=None, description="The payer id.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A payer as it is right.")
class ChangePayerInput:
    id: strawberry.ID = strawberry.field(description="The payer.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: str = strawberry.field(description="What it is called.")
    identifier_system: str | None = strawberry.field(
        default=None, description="Whose list has the identifier."
    )
    identifier: str | None = strawberry.field(default=None, description="The payer id.")
    active: bool = strawberry.field(
        default=True, description="False closes it: nobody new is covered by it."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("The coverage.")
class RecordCoveragePayload:
    coverage: Coverage | None = strawberry.field(description="The coverage.")
    user_errors: list[UserError] = payload_errors()


@value_type("The coverage as it is now.")
class ChangeCoveragePayload:
    coverage: Coverage | None = strawberry.field(description="The coverage.")
    user_errors: list[UserError] = payload_errors()


@value_type("The payer.")
class AddPayerPayload:
    payer: Payer | None = strawberry.field(description="The payer.")
    user_errors: list[UserError] = payload_errors()


@value_type("The payer as it is now.")
class ChangePayerPayload:
    payer: Payer | None = strawberry.field(description="The payer.")
    user_errors: list[UserError] = payload_errors()


async def terms_of(work: Work, given: CoverageTermsInput) -> CoverageTerms:
    """What the card says, with its payer. Raises NotFound."""
    return CoverageTerms(
        payer=await work.load(Payers, given.payer, "Payer", "payer"),
        priority=given.priority,
        member_id=given.member_id,
        starts_on=given.starts_on,
        ends_on=given.ends_on,
        group_number=given.group_number,
        relationship=given.relationship,
    )


@strawberry.type
class Mutation:
    @root("coverage:record", "Record what covers a patient.")
    async def record_coverage(
        self, info: Info, input: Annotated[RecordCoverageInput, GIVEN]
    ) -> RecordCoveragePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            patient, _ = await work.patient(input.patient, "patient")
            new = work.new_row(unit, patient_id=patient.id)
            agent = await work.create("coverage:record", new, "patient")
            terms = await terms_of(work, input.terms)
            id_ = work.new_id
            made = await record_coverage(
                work.session, agent, unit, patient.id, terms, coverage_id=id_
            )
            return made.id

        return await perform(
            info._raw_info, "recordCoverage", COVERAGE, input, command, nested="terms"
        )

    @root("coverage:record", "Correct or end a coverage.")
    async def change_coverage(
        self, info: Info, input: Annotated[ChangeCoverageInput, GIVEN]
    ) -> ChangeCoveragePayload | None:
        async def command(work: Work) -> uuid.UUID:
            coverage = await work.load(Coverages, input.id, "Coverage")
            agent = await work.require("coverage:record", coverage)
            terms = await terms_of(work, input.terms)
            session, version, state = work.session, input.version, input.state
            return (await change_coverage(session, agent, coverage, version, terms, state)).id

        return await perform(
            info._raw_info, "changeCoverage", COVERAGE, input, command, nested="terms"
        )

    @root("payer:edit", "Enter a payer into the list.")
    async def add_payer(
        self, info: Info, input: Annotated[AddPayerInput, GIVEN]
    ) -> AddPayerPayload | None:
        async def command(work: Work) -> uuid.UUID:
            new = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("payer:edit", new)
            made = await add_payer(
                work.session,
                agent,
                input.name,
                identifier_system=input.identifier_system,
                identifier=input.identifier,
                payer_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "addPayer", PAYER, input, command)

    @root("payer:edit", "Correct a payer, or close it.")
    async def change_payer(
        self, info: Info, input: Annotated[ChangePayerInput, GIVEN]
    ) -> ChangePayerPayload | None:
        async def command(work: Work) -> uuid.UUID:
            payer = await work.load(Payers, input.id, "Payer")
            agent = await work.require("payer:edit", payer)
            changed = await change_payer(
                work.session,
                agent,
                payer,
                input.version,
                input.name,
                identifier_system=input.identifier_system,
                identifier=input.identifier,
                active=input.active,
            )
            return changed.id

        return await perform(info._raw_info, "changePayer", PAYER, input, command)
