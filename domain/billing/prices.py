"""What a code costs: the price list by day and node of the tree. A price never changes; it ends and another begins."""

import datetime as dt
import re
import uuid
from decimal import Decimal

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.billing.commands import own_tenant
from domain.billing.money import minor_units
from domain.billing.record import ChargeMaster, CodeSystem
from domain.constraints import refusals
from domain.errors import DomainError, Invalid
from domain.locks import hold
from domain.model import new_id
from domain.organization import OrgUnit
from domain.patients import fold
from domain.plain_text import line
from domain.versions import change

CODE = re.compile(r"[A-Z0-9][A-Z0-9.-]{0,31}")


class PriceOverlaps(DomainError):
    """There is a later price of the code at the node already."""

    code = "PRICE_OVERLAPS"
    constraints = ("ex_charge_master_period",)

    def __init__(self) -> None:
        super().__init__(
            "There is another price of this code for this time; end it first.",
            path=("effectiveFrom",),
        )


async def price_at(
    session: AsyncSession,
    agent: Agent,
    unit_id: uuid.UUID,
    code_system: str,
    code: str,
    day: dt.date,
) -> ChargeMaster:
    """The price in force at a unit on a day: of the nearest node above that has one. Raises Invalid (NO_PRICE)."""
    if code_system not in list(CodeSystem):
        raise Invalid("This code system is not in the price list.", path=("codeSystem",))
    entries = await session.scalars(
        select(ChargeMaster).where(
            ChargeMaster.tenant_id == agent.tenant_id,
            ChargeMaster.code_system == code_system,
            ChargeMaster.code == code,
            ChargeMaster.effective_from <= day,
            or_(ChargeMaster.effective_until.is_(None), ChargeMaster.effective_until > day),
        )
    )
    by_node = {entry.unit_id: entry for entry in entries}
    if set(by_node) - {None}:
        for node in await line_above(session, agent, unit_id):
            if node in by_node:
                return by_node[node]
    if None not in by_node:
        raise Invalid("The code has no price on this day.", path=("code",), code="NO_PRICE")
    return by_node[None]


async def line_above(session: AsyncSession, agent: Agent, unit_id: uuid.UUID) -> list[uuid.UUID]:
    """The unit and everything above it, nearest first: four levels at the most."""
    line_: list[uuid.UUID] = []
    found: uuid.UUID | None = unit_id
    while found is not None:
        line_.append(found)
        unit = await session.get(OrgUnit, {"tenant_id": agent.tenant_id, "id": found})
        found = unit.parent_id if unit else None
    return line_


async def set_price(
    session: AsyncSession,
    agent: Agent,
    code_system: CodeSystem,
    code: str,
    description: str,
    price: Decimal,
    currency: str,
    effective_from: dt.date,
    *,
    unit_id: uuid.UUID | None = None,
    entry_id: uuid.UUID | None = None,
) -> ChargeMaster:
    """Let a price begin on a day; the one in force at the node then ends there.

    Charges recorded before keep the price that they have. Raises Invalid, PriceOverlaps. Writes charge_master.
    """
    minor = minor_units(price, currency, await own_tenant(session, agent))
    if minor < 0:
        raise Invalid("A price is not below zero.", path=("price",))
    if not CODE.fullmatch(code):
        raise Invalid("A code is of capital letters, digits, points and dashes.", path=("code",))
    words = line(description, "description")
    await hold(session, "price", agent.tenant_id, code_system.value, code)
    before = await session.scalar(
        select(ChargeMaster).where(
            ChargeMaster.tenant_id == agent.tenant_id,
            ChargeMaster.code_system == code_system.value,
            ChargeMaster.code == code,
            ChargeMaster.unit_id.is_not_distinct_from(unit_id),
            ChargeMaster.effective_from < effective_from,
            or_(
                ChargeMaster.effective_until.is_(None),
                ChargeMaster.effective_until > effective_from,
            ),
        )
    )
    until = before.effective_until if before else None
    if before is not None:
        await change(session, agent, before, before.version, effective_until=effective_from)
    entry = ChargeMaster(
        tenant_id=agent.tenant_id,
        id=entry_id or new_id(),
        unit_id=unit_id,
        code_system=code_system.value,
        code=code,
        description=words,
        description_key=fold(words),
        price_minor=minor,
        effective_from=effective_from,
        effective_until=until,
    )
    session.add(entry)
    with refusals():
        await session.flush()
    record(session, agent, "charge_master:edit", entry.id)
    return entry


async def end_price(
    session: AsyncSession, agent: Agent, entry: ChargeMaster, version: int, until: dt.date
) -> ChargeMaster:
    """Let a price end on a day, from which it holds no more. Raises Invalid, StaleVersion."""
    if until <= entry.effective_from:
        raise Invalid("A price holds for a day at least.", path=("effectiveUntil",))
    if entry.effective_until is not None and until > entry.effective_until:
        raise Invalid("A price that has ended is not made longer.", path=("effectiveUntil",))
    ended = await change(session, agent, entry, version, effective_until=until)
    record(session, agent, "charge_master:edit", ended.id)
    return ended
