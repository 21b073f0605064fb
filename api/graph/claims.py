"""Claims and the desks on which they lie."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text, cast, func, select

from api.graph.billing import ChargeItem, minor
from api.graph.coverages import Coverage
from api.graph.encounters import Encounter, local_id
from api.graph.ledger import ZERO
from api.graph.organization import OrgUnit, clinic_of, node_argument
from api.graph.patients import Patient, patient_of
from api.graph.relay import (
    After,
    Connection,
    First,
    Info,
    Money,
    Node,
    Wanted,
    Within,
    money,
    root,
)
from api.plan.compile import Compiler
from api.plan.fetch import get, page
from api.plan.mapping import (
    Row,
    attribute,
    column,
    computed,
    enum_name,
    joined,
    many,
    one,
    struct,
    table,
)
from api.plan.page import Listing
from domain.billing import Claim as Claims
from domain.billing import ClaimItem as ClaimItems
from domain.billing import ClaimKind, ClaimQueue, ClaimReceipt, FinancialState
from domain.billing import ClaimStep as ClaimSteps

if TYPE_CHECKING:
    from api.graph.postings import Posting

strawberry.enum(ClaimKind, name="ClaimKind", description="FHIR claim type.")
strawberry.enum(ClaimQueue, name="ClaimQueue", description="On whose desk a claim lies.")
LISTING = Listing(Claims, "claim", "recorded_at", Claims)


@table(ClaimItems, description="A charge on a claim and what the payer answered about it.")
class ClaimItem(Node):
    sequence: int | None = column("read", "Its number on the claim.")
    units: str | None = computed(
        "read", "How many, as a decimal text.", lambda item, *_: cast(item.units, Text)
    )
    total: Money | None = struct("read", "What was claimed.", minor("total_minor"))
    paid: Money | None = struct("read", "What the payer paid.", minor("paid_minor"))
    adjusted: Money | None = struct("read", "What nobody owes any more.", minor("adjusted_minor"))
    patient_part: Money | None = struct("read", "What the patient bears.", minor("patient_minor"))

    @one("read", joined("id", "charge_item_id"))
    def charge(self) -> ChargeItem | None:
        """What was done."""


@table(ClaimSteps, description="A claim came to a queue.")
class ClaimStep(Node):
    step: int | None = column("read", "From 0.")
    from_queue: ClaimQueue | None = computed(
        "read", "Where it lay; null for the first.", lambda s, *_: enum_name(s.from_queue)
    )
    queue: ClaimQueue | None = computed("read", "Where it came.", lambda s, *_: enum_name(s.queue))
    reason: str | None = column("read", "Why, as far as somebody said.")
    moved_at: dt.datetime | None = column("read", "When.")


def _received(claim: Row, c: Compiler) -> ColumnElement[Any]:
    part = c.alias(ClaimReceipt)
    return (
        select(func.coalesce(func.sum(part.amount_minor), ZERO))
        .where(part.claim_id == attribute(claim, "id"), c.policy(part, "claim"))
        .correlate(claim)
        .scalar_subquery()
    )


@table(Claims, description="What a payer is asked to pay for an encounter.")
class Claim(Node):
    kind: ClaimKind | None = computed("read", "Its type.", lambda c, *_: enum_name(c.kind))
    state: FinancialState | None = computed(
        "read", "FHIR status.", lambda c, *_: enum_name(c.state)
    )
    queue: ClaimQueue | None = computed(
        "read", "On whose desk it lies.", lambda c, *_: enum_name(c.queue)
    )
    priority: int | None = column("read", "The order of the payer: 1 is asked first.")
    total: Money | None = struct("read", "What is claimed.", minor("total_minor"))
    paid: Money | None = struct("read", "What the payer paid.", minor("paid_minor"))
    adjusted: Money | None = struct("read", "What nobody owes any more.", minor("adjusted_minor"))
    patient_part: Money | None = struct("read", "What the patient bears.", minor("patient_minor"))
    received: Money | None = struct(
        "read",
        "What came of it in payments, less what was taken back.",
        money(_received, always=True),
    )
    payer_reference: str | None = column("read", "The payer's own number of it.")
    recorded_at: dt.datetime | None = column("read", "When it was made.")
    filed_at: dt.datetime | None = column("read", "When it last went to the payer.")
    adjudicated_at: dt.datetime | None = column("read", "When the payer's answer was taken.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", joined("id", "encounter_id"))
    def encounter(self) -> Encounter | None:
        """For which visit."""

    @one("read", joined("id", "coverage_id"))
    def coverage(self) -> Coverage | None:
        """Who is asked."""

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """For whom."""

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """Which clinic asks."""

    @many(
        "read",
        joined("claim_id", "id"),
        group=None,
        order=lambda item: [item.sequence],
    )
    def items(self, first: First = 100) -> list[ClaimItem] | None:
        """What is asked for."""

    @many("read", joined("claim_id", "id"), group=None, order=lambda step: [step.step])
    def steps(self, first: First = 100) -> list[ClaimStep] | None:
        """Its way so far."""

    @many("read", joined("claim_id", "id"), group=None, order=lambda p: [p.posted_at, p.id])
    def postings(
        self, first: First = 100
    ) -> list[Annotated["Posting", strawberry.lazy("api.graph.postings")]] | None:
        """What was posted of the payer's answer."""


@strawberry.type
class Query:
    @root("claim:read", "A claim; null where there is none that you may see.")
    async def claim(self, info: Info, id: Wanted) -> Claim | None:
        return await get(info._raw_info, Claim, id)

    @root(
        "claim:read", "Claims that you may see, oldest first: with `node` and `queue` a worklist."
    )
    async def claims(
        self,
        info: Info,
        node: Within = None,
        queue: Annotated[
            ClaimQueue | None, strawberry.argument(description="Only on this desk.")
        ] = None,
        state: Annotated[
            FinancialState | None, strawberry.argument(description="Only in this state.")
        ] = None,
        patient: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only for this patient.")
        ] = None,
        encounter: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only for this visit.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Claim] | None:
        known, unit = node_argument(info, node)
        good, patient_id = local_id(patient, "Patient")
        good_too, encounter_id = local_id(encounter, "Encounter")
        if not (known and good and good_too):
            return None
        values = {
            "patient_id": patient_id,
            "encounter_id": encounter_id,
            "queue": None if queue is None else queue.value,
            "state": None if state is None else state.value,
        }
        return await page(
            info._raw_info,
            LISTING,
            node=unit,
            first=first,
            after=after,
            values=values,
        )
