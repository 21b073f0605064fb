"""The guard against shutting people out by accident: a wave of departures is held until an administrator lets it pass.

Counted are people whom directories shut out, delete, or take a role from without giving another, once each a day. Above
`limit_of` what would let more of them go is refused whole, and they are held: asked for again, they are refused again,
until an administrator releases them or nobody has asked for three days. Meanwhile others leave one by one as ever, up to
a few a day: a leaver is never kept in because somebody filtered a group wrongly.
"""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, Uuid, case, cast, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import Invalid, NotAllowed
from domain.model import Base, new_id
from domain.organization import Tenant
from domain.scim import ScimUser
from domain.scim_departures import ScimDeparture, ScimRelease
from identity.administrators import lock_offices
from identity.lifecycle import configure

DEPARTURES: Table = Base.metadata.tables[ScimDeparture.__tablename__]

LONGEST_FEW, LONGEST_MOST, LONGEST_PERCENT = 100, 2_000, 50
"""So far a health system may raise its limits (`Tenant.departures_few` and the others)."""
WINDOW = dt.timedelta(days=1)
KEPT = dt.timedelta(days=3)
LONGEST_RELEASE = dt.timedelta(days=7)
HELD = "scim_held"
"""Where a session notes whom its request did not let go."""


@dataclass(frozen=True)
class Limits:
    """So many people leave in a day without a question: a share of those whom directories pushed, `few` to `most`."""

    few: int = 10
    most: int = 200
    percent: int = 10

    def of(self, pushed: int) -> int:
        """How many that are of so many."""
        return max(self.few, min(self.most, pushed * self.percent // 100))


class TooManyLeave(NotAllowed):
    """More people than usual would be shut out, or lose their role, within a day."""

    code = "TOO_MANY_LEAVE"

    def __init__(self) -> None:
        super().__init__(
            "Held: more people than usual would be shut out or lose their role within a day. An administrator of the"
            " health system has to release it on the sync page; then send it again."
        )


async def let_go(session: AsyncSession, agent: Agent, people: Collection[uuid.UUID]) -> None:
    """Count people who leave. Raises TooManyLeave, and notes them in `session.info[HELD]`, where they are held."""
    if not people:
        return
    if not await is_released(session, agent) and await _is_wave(session, agent, people):
        session.info.setdefault(HELD, set()).update(people)
        raise TooManyLeave()
    await _note(session, agent, people, refused=False)


async def hold(session: AsyncSession, agent: Agent, people: Collection[uuid.UUID]) -> bool:
    """Write down who is held, after the request that would have let them go; whether they are the first of a wave."""
    await lock_offices(session, agent)  # of two requests at once one is the first
    first = not await count_held(session, agent)
    await _note(session, agent, people, refused=True)
    record(session, agent, "scim:hold_departures", *sorted(people)[:1_000])
    return first


async def release(
    session: AsyncSession, agent: Agent, lasts: dt.timedelta, release_id: uuid.UUID | None = None
) -> ScimRelease:
    """Let all departures pass for so long. Raises Invalid (hours)."""
    if not dt.timedelta(0) < lasts <= LONGEST_RELEASE:
        hours = int(LONGEST_RELEASE.total_seconds() // 3600)
        raise Invalid(f"A release lasts up to {hours} hours.", path=("hours",))
    made = ScimRelease(
        tenant_id=agent.tenant_id,
        id=release_id or new_id(),
        until=agent.now + lasts,
        released_by=agent.person_id,
        created_at=agent.now,
    )
    session.add(made)
    record(session, agent, "tenant:configure", made.id)
    await session.flush()
    return made


async def is_released(session: AsyncSession, agent: Agent) -> bool:
    """Whether departures pass, however many."""
    found = select(ScimRelease.id).where(
        ScimRelease.tenant_id == agent.tenant_id, ScimRelease.until > agent.now
    )
    return await session.scalar(found.limit(1)) is not None


async def count_held(session: AsyncSession, agent: Agent) -> int:
    """How many people are held."""
    held = select(func.count(ScimDeparture.id)).where(
        ScimDeparture.tenant_id == agent.tenant_id, ScimDeparture.refused_at > agent.now - KEPT
    )
    return await session.scalar(held) or 0


async def forget_departures(session: AsyncSession, agent: Agent) -> None:
    """Remove those that count no longer."""
    last = func.greatest(ScimDeparture.asked_at, ScimDeparture.refused_at)
    await session.execute(
        delete(ScimDeparture).where(
            ScimDeparture.tenant_id == agent.tenant_id, last < agent.now - KEPT
        ),
        execution_options={"synchronize_session": False},
    )


async def _is_wave(session: AsyncSession, agent: Agent, people: Collection[uuid.UUID]) -> bool:
    these = ScimDeparture.id == func.any(cast(sorted(people), ARRAY(Uuid)))
    held = ScimDeparture.refused_at > agent.now - KEPT
    counts = select(
        func.count().filter(ScimDeparture.asked_at > agent.now - WINDOW, ~these),
        func.count().filter(held),
        func.count().filter(held, these),
    ).where(ScimDeparture.tenant_id == agent.tenant_id)
    others, waiting, again = (await session.execute(counts)).one()
    leaving = others + len(set(people))
    if again:
        return True
    limits = await limits_of(session, agent)
    if leaving <= limits.few:
        return False
    return bool(waiting) or leaving > limits.of(await _pushed(session, agent))


async def limits_of(session: AsyncSession, agent: Agent) -> Limits:
    """The health system's limits."""
    names = (Tenant.departures_few, Tenant.departures_most, Tenant.departures_percent)
    row = (await session.execute(select(*names).where(Tenant.tenant_id == agent.tenant_id))).one()
    return Limits(*row)


async def limit_of(session: AsyncSession, agent: Agent) -> int:
    """How many people may leave in a day."""
    return (await limits_of(session, agent)).of(await _pushed(session, agent))


async def _pushed(session: AsyncSession, agent: Agent) -> int:
    pushed = select(func.count(ScimUser.id)).where(
        ScimUser.tenant_id == agent.tenant_id, ScimUser.deleted_at.is_(None)
    )
    return await session.scalar(pushed) or 0


async def set_limits(
    session: AsyncSession, agent: Agent, limits: Limits, version: int | None = None
) -> None:
    """Say how many may leave in a day; it counts from the next departure on.

    Raises NotFound, StaleVersion, Invalid (few, most, percent).
    """
    bounds = (("few", 1, LONGEST_FEW), ("most", limits.few, LONGEST_MOST))
    for name, least, most in (*bounds, ("percent", 1, LONGEST_PERCENT)):
        if not least <= getattr(limits, name) <= most:
            raise Invalid(f"From {least} to {most}.", path=(name,))
    said = {f"departures_{name}": value for name, value in vars(limits).items()}
    await configure(session, agent, version, **said)


async def _note(
    session: AsyncSession, agent: Agent, people: Collection[uuid.UUID], *, refused: bool
) -> None:
    """Write down that it was asked for; of somebody who is held already, when it was asked first stays."""
    was_held = DEPARTURES.c.refused_at > agent.now - KEPT
    rows = [
        {"tenant_id": agent.tenant_id, "id": person_id, "asked_at": agent.now}
        | {"refused_at": agent.now if refused else None}
        for person_id in sorted(people)
    ]
    new = insert(DEPARTURES)
    asked_at: ColumnElement[dt.datetime] = new.excluded.asked_at
    if refused:
        asked_at = case((was_held, DEPARTURES.c.asked_at), else_=asked_at)
    written = new.on_conflict_do_update(
        index_elements=["tenant_id", "id"],
        set_={"asked_at": asked_at, "refused_at": new.excluded.refused_at},
    )
    await session.execute(written, rows)
