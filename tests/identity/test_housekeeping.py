"""The daily work of the worker: partitions are there, old idempotency keys are gone, young ones stay."""

import datetime as dt
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.keys import claim
from domain.model import new_id
from identity.housekeeping import FORGET_KEYS, KEEP_HOUSE, MONTHS
from identity.jobs import make_app, work_off
from identity.provisioning import PersonDraft, create_person
from identity.sync import cell_session
from identity.tenants import MadeTenant
from tests.identity.conftest import World

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
NOW = dt.datetime.now(dt.UTC)


async def used(world: World, made: MadeTenant, person_id: UUID, age: dt.timedelta) -> str:
    """A key that was used so long ago."""
    key = f"{age}"
    agent = Agent(tenant_id=made.tenant_id, now=NOW - age, person_id=person_id)
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await claim(session, agent, "bookAppointment", key, b"hash", new_id())
    return key


async def test_a_day_of_housekeeping(world: World, owner_engine: AsyncEngine) -> None:
    made = await world.tenant()
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        agent = Agent(tenant_id=made.tenant_id, now=NOW)
        draft = PersonDraft("nora", "Nora", "Nurse", "nora@clinic.example")
        person = await create_person(session, agent, draft)
    await used(world, made, person.id, dt.timedelta(hours=25))
    young = await used(world, made, person.id, dt.timedelta(hours=23))
    resources = world.resources
    async with make_app(world.worker_url).open_async() as app:
        await app.configure_task(KEEP_HOUSE).defer_async(timestamp=0)
    await work_off(world.worker_url, resources)
    async with owner_engine.connect() as owner:
        kept = await owner.scalars(
            text("select key from idempotency where tenant_id = :t"), {"t": made.tenant_id}
        )
        assert list(kept) == [young]
        left = await owner.scalar(
            text("select count(*) from procrastinate_jobs where task_name = :t"), {"t": FORGET_KEYS}
        )
        assert left == 0
        months = await owner.scalar(
            text("select count(*) from pg_inherits where inhparent = 'audit_event'::regclass")
        )
        assert months > MONTHS
