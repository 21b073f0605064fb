"""What a setup link leaves when its time is over is ended by itself: by its own job, or by the day's look if that was lost."""

import datetime as dt

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import AuditEvent
from domain.operators import Operator as Operators
from domain.people import Person
from domain.setup import SetupLink
from identity.housekeeping import LOOK_AFTER
from identity.jobs import make_app
from identity.operators import Operator
from identity.setup import make_link
from identity.sync import cell_session
from tests.database import Database
from tests.identity.conftest import World

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
HOUR = dt.timedelta(hours=1)


async def test_a_link_whose_time_is_over_leaves_nobody(world: World, database: Database) -> None:
    made = await world.tenant()
    async with AsyncSession(world.platform.control, expire_on_commit=False) as session:
        row = Operators(user_name=f"of-{made.slug}", given_name="O", family_name="P")
        session.add(row)
        await session.commit()
    operator = Operator(row.id, row.user_name, dt.datetime.now(dt.UTC))
    over, lost, open_ = [
        (await make_link(world.platform, operator, made.slug, lasts=lasts)).id
        for lasts in (HOUR, HOUR, 2 * HOUR)
    ]

    async def active() -> set[object]:
        async with cell_session(world.cell, made.tenant_id) as session:
            query = select(SetupLink.id).join(Person, Person.id == SetupLink.person_id)
            return set(
                await session.scalars(query.where(Person.active, SetupLink.ended_at.is_(None)))
            )

    def passes(link: object) -> None:
        """Its hour passes, for the link and for the jobs that wait for it."""
        with database.owner_engine.begin() as owner:
            owner.execute(
                text("update setup_link set expires_at = now() - interval '1 s' where id = :l"),
                {"l": link},
            )
            owner.execute(
                text(
                    "update procrastinate_jobs set scheduled_at = now() where status = 'todo'"
                    " and task_name = 'identity:end_setup_links' and args->>'tenant_id' = :t"
                ),
                {"t": str(made.tenant_id)},
            )

    await world.work()
    assert await active() == {over, lost, open_}
    passes(over)
    await world.work()
    assert await active() == {lost, open_}
    passes(lost)  # no job is left
    await world.work()
    assert await active() == {lost, open_}
    async with make_app(world.worker_url).open_async() as app:
        await app.configure_task(LOOK_AFTER).defer_async(tenant_id=str(made.tenant_id))
    await world.work()
    assert await active() == {open_}
    async with cell_session(world.cell, made.tenant_id) as session:
        ended = select(AuditEvent.subject_ids).where(AuditEvent.action == "setup_link:end")
        assert sorted(ids[0] for ids in await session.scalars(ended)) == sorted([over, lost])
