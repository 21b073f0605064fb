"""Fills a health system that exists with its tree, people, prices and patients. Each step leaves what is there."""

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from dev.demo import accounts, cast, charts, clinical, world
from dev.demo.generate import Generator, Numbers, Volume
from dev.demo.places import Node, System, unit_id, walk
from dev.demo.rows import Batch, copy
from domain.audit import Agent
from domain.keys import Sealer
from domain.organization import OrgUnit, Tenant, add_unit
from domain.people import Person, RoleGrant
from domain.practitioners import (
    Practitioner,
    ResourceKind,
    add_practitioner,
    add_resource,
    assign,
)
from identity.grants import GrantDraft, give_grant
from identity.provisioning import PersonDraft, create_person, deactivate_person
from identity.sync import cell_session

MONTH = dt.timedelta(days=30)
Progress = Callable[[str, int, int], None]
"""Told what is being made, how much of it is done and how much there is."""


def silent(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Target:
    """Where a health system is filled: the application's engine, the owner's URL, the tenant's keys."""

    cell: AsyncEngine
    owner_url: str
    tenant_id: uuid.UUID
    sealer: Sealer


async def populate(
    target: Target, system: System, progress: Progress = silent, volume: Volume | None = None
) -> None:
    """Make what is missing. Safe to repeat, also after a crash: a batch of patients is there as a whole or not.

    Times are relative to the day on which the tenant was made, so a later run goes on as the first would have.
    """
    agent = Agent(target.tenant_id, now=dt.datetime.now(dt.UTC))
    async with cell_session(target.cell, target.tenant_id) as session:
        made = await session.scalar(
            select(Tenant.created_at).where(Tenant.tenant_id == target.tenant_id)
        )
        if made is None:
            raise LookupError(f"There is no health system {system.slug}.")
        units = await _tree(session, agent, system)
    await _people(target, agent, system, units, progress)
    async with cell_session(target.cell, target.tenant_id) as session:
        people = await _ids_by_login(session, target.tenant_id)
        place = world.planned(system, target.tenant_id, people)
        await _practitioners(session, agent, place, units)
    maker = Generator(place, volume or volume_of(system), made.date(), target.sealer)
    await fill(target.owner_url, maker, progress)


def volume_of(system: System) -> Volume:
    """How much a demo health system holds."""
    return Volume(system.patients, round(system.patients * system.visits), system.patients)


async def _tree(session: AsyncSession, agent: Agent, system: System) -> dict[str, OrgUnit]:
    """The units by path; the root is there from the tenant's making."""
    query = select(OrgUnit).where(OrgUnit.tenant_id == agent.tenant_id)
    there = {unit.id: unit for unit in await session.scalars(query)}
    units: dict[str, OrgUnit] = {}
    for path, node, parent in walk(system):
        if parent is None:
            units[path] = next(u for u in there.values() if u.parent_id is None)
        elif (unit := there.get(unit_id(path))) is not None:
            units[path] = unit
        else:
            units[path] = await _unit(session, agent, units[parent], path, node)
    return units


async def _unit(
    session: AsyncSession, agent: Agent, parent: OrgUnit, path: str, node: Node
) -> OrgUnit:
    return await add_unit(session, agent, parent, node.name, zone=node.zone, unit_id=unit_id(path))


async def _people(
    target: Target,
    agent: Agent,
    system: System,
    units: dict[str, OrgUnit],
    progress: Progress,
) -> None:
    """Everybody of the cast with their grants, one transaction each."""
    members = cast.of(system.slug)
    for done, member in enumerate(members, 1):
        async with cell_session(target.cell, target.tenant_id) as session:
            await _member(session, agent, member, units)
        progress(f"{system.slug}: people", done, len(members))


async def _member(
    session: AsyncSession, agent: Agent, member: cast.Member, units: dict[str, OrgUnit]
) -> None:
    known = await _ids_by_login(session, agent.tenant_id)
    if member.login in known:
        person_id = known[member.login]
    else:
        draft = PersonDraft(
            member.login,
            member.given_name,
            member.family_name,
            f"{member.login}@{member.tenant}.example",
        )
        person_id = (await create_person(session, agent, draft)).id
    held = select(RoleGrant.role, RoleGrant.unit_id).where(
        RoleGrant.tenant_id == agent.tenant_id, RoleGrant.person_id == person_id
    )
    there = {(row.role, row.unit_id) for row in await session.execute(held)}
    for grant in member.grants:
        unit = units[grant.path].id
        if (grant.role, unit) not in there:
            begin, end = _period(grant.period, agent.now)
            draft_ = GrantDraft(person_id, grant.role, unit, begin, end, reason="demo")
            await give_grant(session, agent, draft_)


async def retire(cell: AsyncEngine, tenant_id: uuid.UUID, system: System) -> list[uuid.UUID]:
    """Shut out those of the cast who are no longer active, after they could log in; answers who it was now."""
    agent = Agent(tenant_id, now=dt.datetime.now(dt.UTC))
    left = [m.login for m in cast.of(system.slug) if not m.active]
    async with cell_session(cell, tenant_id) as session:
        query = select(Person.id).where(
            Person.tenant_id == tenant_id, Person.user_name.in_(left), Person.active
        )
        found = list(await session.scalars(query))
        for person_id in found:
            await deactivate_person(session, agent, person_id)
    return found


def _period(period: cast.Period, now: dt.datetime) -> tuple[dt.datetime | None, dt.datetime | None]:
    match period:
        case "expired":
            return now - 2 * MONTH, now - MONTH
        case "future":
            return now + 12 * MONTH, None
        case _:
            return None, None


async def _ids_by_login(session: AsyncSession, tenant_id: uuid.UUID) -> dict[str, uuid.UUID]:
    query = select(Person.user_name, Person.id).where(Person.tenant_id == tenant_id)
    return {row.user_name: row.id for row in await session.execute(query)}


async def _practitioners(
    session: AsyncSession, agent: Agent, place: world.World, units: dict[str, OrgUnit]
) -> None:
    """Who treats patients, the rooms, and where both may be booked."""
    query = select(Practitioner.id).where(Practitioner.tenant_id == agent.tenant_id)
    there = set(await session.scalars(query))
    by_id = {unit.id: unit for unit in units.values()}
    for clinic in place.clinics:
        fresh = [doctor for doctor in clinic.doctors if doctor.id not in there]
        for doctor in fresh:
            await add_practitioner(
                session,
                agent,
                doctor.given_name,
                doctor.family_name,
                specialty=doctor.specialty,
                person_id=doctor.person_id,
                practitioner_id=doctor.id,
            )
            await assign(session, agent, doctor.id, by_id[clinic.id])
        if fresh:
            await _rooms(session, agent, by_id[clinic.id])
    await _nurses(session, agent, place, there)


async def _rooms(session: AsyncSession, agent: Agent, clinic: OrgUnit) -> None:
    kinds = [(ResourceKind.ROOM, name) for name in clinical.ROOMS]
    for kind, name in [*kinds, (ResourceKind.DEVICE, clinical.DEVICE)]:
        resource = await add_resource(session, agent, kind, f"{clinic.name}, {name}")
        await assign(session, agent, resource.id, clinic)


async def _nurses(
    session: AsyncSession, agent: Agent, place: world.World, there: set[uuid.UUID]
) -> None:
    """People of the cast who are practitioners without being booked: they write and sign notes."""
    booked = {doctor.id for clinic in place.clinics for doctor in clinic.doctors}
    people = await _ids_by_login(session, agent.tenant_id)
    for member in cast.of(place.name):
        key = member.practitioner_id
        if key is not None and key not in booked | there:
            await add_practitioner(
                session,
                agent,
                member.given_name,
                member.family_name,
                specialty=member.practitioner,
                person_id=people[member.login],
                practitioner_id=key,
            )


async def fill(owner_url: str, maker: Generator, progress: Progress = silent) -> None:
    """Write the price list and every batch that is not there yet, each in a transaction with its audit event.

    The owner is exempt from row-level security; that is what makes loading by COPY possible.
    """
    async with await psycopg.AsyncConnection.connect(libpq(owner_url)) as connection:
        async with connection.transaction():
            await _prices(connection, maker)
        for index in range(maker.volume.batches):
            async with connection.transaction():
                await _batch(connection, maker, index)
            done = min((index + 1) * maker.volume.batch, maker.volume.patients)
            progress(f"{maker.world.name}: patients", done, maker.volume.patients)


async def _prices(connection: psycopg.AsyncConnection[TupleRow], maker: Generator) -> None:
    """Prices and payers, each if there is none yet."""
    tenant_id = maker.world.tenant_id
    if not maker.volume.records:
        return
    made = Batch()
    for table, fill in (("charge_master", accounts.price_list), ("payer", charts.payers)):
        there = f"select 1 from {table} where tenant_id = %s limit 1"  # noqa: S608 - a name of ours
        if await _one(connection, there, tenant_id) is None:
            fill(made, maker.world.name, tenant_id)
    await copy(connection, made)


async def _batch(
    connection: psycopg.AsyncConnection[TupleRow], maker: Generator, index: int
) -> None:
    tenant_id = maker.world.tenant_id
    # Two seeds at once: the second waits here and then finds the batch done.
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"demo {tenant_id}"]
    )
    found = "select 1 from audit_event where tenant_id = %s and id = %s"
    if await _one(connection, found, tenant_id, maker.marker(index)):
        return
    last = "select coalesce(max(value), 0) from counter where tenant_id = %s and name = %s"
    before = Numbers(
        await _one(connection, last, tenant_id, "mrn"),
        await _one(connection, last, tenant_id, "invoice"),
    )
    batch, after = maker.batch(index, before)
    await copy(connection, batch)
    for name, value in (("mrn", after.mrn), ("invoice", after.invoice)):
        await connection.execute(
            "insert into counter (tenant_id, name, value) values (%s, %s, %s)"
            " on conflict (tenant_id, name) do update set value = excluded.value",
            [tenant_id, name, value],
        )


async def _one(connection: psycopg.AsyncConnection[TupleRow], query: str, *values: object) -> Any:
    row = await (await connection.execute(query.encode(), values)).fetchone()
    return row[0] if row else None


def libpq(url: str) -> str:
    """The URL as psycopg itself takes it, whatever driver it names."""
    return f"postgresql://{url.partition('://')[2]}"
