"""The ledger's other entries: adjustments, transfers, reversals, and what is left of a posting applied to lines."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.billing.allocations import (
    Share,
    allocated,
    applied_of,
    apply,
    open_lines,
    settle_invoices,
    spread,
)
from domain.billing.claim_record import Claim
from domain.billing.ledger import enter
from domain.billing.money import minor_units
from domain.billing.posting_record import AdjustmentGroup, Posting, PostingKind
from domain.constraints import refusals
from domain.errors import DomainError, Invalid, NotAllowed, NotFound
from domain.model import new_id
from domain.organization import Place, Tenant
from domain.patients import Seen, seen_at
from domain.plain_text import line as a_line
from domain.plain_text import optional_line


class AboveBalance(DomainError):
    """More than the patient owes at the clinic, and not said to be unapplied."""

    code = "ABOVE_BALANCE"

    def __init__(self) -> None:
        super().__init__(
            "This is more than is owed at the clinic; say that the payment is unapplied.",
            path=("amount",),
        )


class NoCredit(DomainError):
    """There is not so much credit at the clinic from which it is to be transferred."""

    code = "NO_CREDIT"

    def __init__(self) -> None:
        super().__init__("There is not so much credit at this clinic.", path=("amount",))


class AlreadyReversed(DomainError):
    """The posting was undone before; that is done once."""

    code = "ALREADY_REVERSED"
    constraints = ("uq_posting_reverses",)

    def __init__(self) -> None:
        super().__init__("This posting was reversed before.", path=("id",))


class OwnEntry(NotAllowed):
    """Nobody corrects an entry that they made themselves."""

    code = "OWN_ENTRY"

    def __init__(self) -> None:
        super().__init__("Somebody else corrects an entry of yours.")


@dataclass(frozen=True)
class Adjustment:
    """Why less is owed: X12 group and reason code (CARC, https://x12.org/codes/claim-adjustment-reason-codes)."""

    group: AdjustmentGroup
    reason_code: str


async def owed_at(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, patient_id: uuid.UUID
) -> int:
    """What the patient owes at the clinic, in minor units (`open_balance`, migration 0008). Raises NotFound."""
    asked = func.open_balance(agent.tenant_id, clinic_id, patient_id, type_=BigInteger())
    owed = await session.scalar(select(asked))
    if owed is None:
        raise NotFound(path=("patientId",))
    return int(owed)


def posting_at(agent: Agent, place: Seen | Posting | Claim, **values: Any) -> Posting:
    """A posting where a patient is seen, or where another row about them lies, made now by the agent."""
    names = ("clinic_id", "unit_id", "patient_id", "sensitivity")
    kept = {name: getattr(place, name) for name in names}
    defaults: dict[str, Any] = {"id": new_id(), "posted_at": agent.now}
    own = {"tenant_id": agent.tenant_id, "recorded_by": agent.person_id}
    return Posting(**defaults | own | kept | values)


async def allocate(
    session: AsyncSession, agent: Agent, posting: Posting, shares: Sequence[Share]
) -> Posting:
    """Apply what is left of a payment or adjustment to lines. Raises Invalid, AboveOpen. Writes allocation.

    What a transfer took to another clinic is not left, whichever posting it came from.
    """
    if posting.amount_minor <= 0 or posting.kind == PostingKind.REVERSAL:
        raise Invalid("Only what lowers the account is applied to lines.", path=("id",))
    if not shares:
        raise Invalid("Name at least one line.", path=("allocations",))
    (at,) = await enter(session, agent, posting.patient_id, posting.clinic_id)
    undone = select(Posting.id).where(
        Posting.tenant_id == agent.tenant_id, Posting.reverses_id == posting.id
    )
    if await session.scalar(undone):
        raise AlreadyReversed()
    used = sum(amount for _, _, amount in await applied_of(session, agent, posting))
    lines = await open_lines(session, agent, posting.clinic_id, posting.patient_id)
    owed = await owed_at(session, agent, posting.clinic_id, posting.patient_id)
    free = sum(line.open_minor for line in lines.values()) - owed
    apply(session, at, posting, shares, lines, left=min(posting.amount_minor - used, free))
    await settle_invoices(session, agent, posting.clinic_id, posting.patient_id)
    record(session, agent, "posting:allocate", posting.id, clinic_id=posting.clinic_id)
    return posting


async def adjust(
    session: AsyncSession,
    agent: Agent,
    tenant: Tenant,
    place: Place,
    patient_id: uuid.UUID,
    amount: Decimal,
    currency: str,
    why: Adjustment,
    *,
    shares: Sequence[Share] = (),
    posting_id: uuid.UUID | None = None,
) -> Posting:
    """Lower what the patient owes at `place`, for a reason. Raises Invalid, NotFound, AboveBalance, AboveOpen.

    It belongs to the lines of `shares`, else to the oldest open ones: what is written off is off something. What the
    patient is to bear (group PR) is no adjustment of the account. Writes posting, allocation.
    """
    minor = minor_units(amount, currency, tenant)
    if minor <= 0:
        raise Invalid("An adjustment is more than nothing.", path=("amount",))
    if why.group is AdjustmentGroup.PATIENT:
        raise Invalid("What the patient bears stays owed.", path=("group",))
    site = await seen_at(session, agent, patient_id, place)
    (at,) = await enter(session, agent, patient_id, site.clinic_id)
    if minor > await owed_at(session, agent, site.clinic_id, patient_id):
        raise AboveBalance()
    posting = posting_at(
        at,
        site,
        id=posting_id or new_id(),
        kind=PostingKind.ADJUSTMENT.value,
        amount_minor=minor,
        group_code=why.group.value,
        reason_code=a_line(why.reason_code, "reasonCode", maximum=10),
    )
    session.add(posting)
    await session.flush()
    lines = await open_lines(session, agent, site.clinic_id, patient_id)
    apply(session, at, posting, shares or spread(minor, lines.values()), lines, left=minor)
    await settle_invoices(session, agent, site.clinic_id, patient_id)
    record(session, agent, "posting:adjust", posting.id, patient_id, clinic_id=site.clinic_id)
    return posting


async def transfer(
    session: AsyncSession,
    agent: Agent,
    tenant: Tenant,
    source: Place,
    target: Place,
    patient_id: uuid.UUID,
    amount: Decimal,
    currency: str,
    *,
    reason: str | None = None,
    posting_id: uuid.UUID | None = None,
) -> Posting:
    """Move a patient's credit from one clinic to another; answers the posting at the target.

    Raises Invalid, NotFound, NoCredit. Writes two postings, each the opposite of the other.
    """
    minor = minor_units(amount, currency, tenant)
    if minor <= 0:
        raise Invalid("A transfer is more than nothing.", path=("amount",))
    sites = [await seen_at(session, agent, patient_id, place) for place in (source, target)]
    if sites[0].clinic_id == sites[1].clinic_id:
        raise Invalid("A transfer goes to another clinic.", path=("to",))
    at = await enter(session, agent, patient_id, *(site.clinic_id for site in sites))
    if minor > -await owed_at(session, agent, sites[0].clinic_id, patient_id):
        raise NoCredit()
    ids = new_id(), posting_id or new_id()
    kind, code = PostingKind.TRANSFER.value, optional_line(reason, "reason", maximum=40)
    taken, given = (
        posting_at(
            at[i],
            site,
            id=ids[i],
            counterpart_id=ids[1 - i],
            kind=kind,
            amount_minor=(-minor, minor)[i],
            reason_code=code,
        )
        for i, site in enumerate(sites)
    )
    session.add_all((taken, given))
    await session.flush()
    record(session, agent, "posting:transfer", given.id, taken.id, patient_id)
    return given


async def reverse(
    session: AsyncSession,
    agent: Agent,
    posting: Posting,
    reason_code: str | None = None,
    *,
    posting_id: uuid.UUID | None = None,
) -> Posting:
    """Undo a posting of somebody else by its exact opposite, once, with what it applied; a transfer at both ends.

    Raises OwnEntry, AlreadyReversed, Invalid for a reversal, NotFound where the other end is not the asker's.
    Writes posting, allocation.
    """
    if posting.kind == PostingKind.REVERSAL:
        raise Invalid("A reversal is not reversed; post it anew.", path=("id",))
    if posting.recorded_by is not None and posting.recorded_by == agent.person_id:
        raise OwnEntry()
    ends = [posting, *await counterpart(session, agent, posting)]
    at = await enter(session, agent, posting.patient_id, *(end.clinic_id for end in ends))
    ids = [posting_id or new_id(), new_id()]
    undone = [
        posting_at(
            at[i],
            end,
            id=ids[i],
            counterpart_id=ids[1 - i] if len(ends) > 1 else None,
            kind=PostingKind.REVERSAL.value,
            amount_minor=-end.amount_minor,
            invoice_id=end.invoice_id,
            claim_id=end.claim_id,
            reason_code=optional_line(reason_code, "reasonCode", maximum=40),
            reverses_id=end.id,
        )
        for i, end in enumerate(ends)
    ]
    session.add_all(undone)
    with refusals():
        await session.flush()
    for i, end in enumerate(ends):  # credit from elsewhere may be applied as well
        for line_id, line_minor, amount in await applied_of(session, agent, end):
            session.add(allocated(at[i], undone[i], line_id, line_minor, -amount))
        await settle_invoices(session, agent, end.clinic_id, end.patient_id)
    record(session, agent, "posting:correct", undone[0].id, posting.id, clinic_id=posting.clinic_id)
    return undone[0]


async def counterpart(session: AsyncSession, agent: Agent, posting: Posting) -> list[Posting]:
    """The other end of a transfer; nothing for other postings. Raises NotFound."""
    if posting.kind != PostingKind.TRANSFER:
        return []
    key = {"tenant_id": agent.tenant_id, "id": posting.counterpart_id}
    other = await session.get(Posting, key)
    if other is None:
        raise NotFound(path=("id",))
    return [other]
