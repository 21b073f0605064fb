"""Administrators are written to about what ends at a provider, once for each term; what is long over is cleared."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text, update

from domain.audit import Agent
from domain.direct_logins import SamlMessage, SamlRequest
from domain.identity_providers import IdentityProvider, SignIn
from domain.model import new_id
from identity.deferral import TELL_ADMINISTRATORS, TELL_PERSON
from identity.housekeeping import forget_keys
from identity.mail import Mail, MailServer
from identity.notices import TASKS
from identity.provider_notices import warn_of_providers
from identity.sync import cell_session
from tests import make
from tests.identity.direct.conftest import Hall
from tests.identity.receivers import postbox

pytestmark = pytest.mark.anyio
DAY = dt.timedelta(days=1)


async def jobs(hall: Hall, task: str) -> list[dict[str, Any]]:
    """What waits of a task, and take it away."""
    mine = "task_name = :task and args ->> 'tenant_id' = cast(:t as text)"
    values = {"task": task, "t": str(hall.tenant_id)}
    async with hall.house.owner.begin() as connection:
        found = await connection.execute(
            text(f"delete from procrastinate_jobs where {mine} returning args"), values
        )
        return [row[0] for row in found]


async def look(hall: Hall, at: dt.datetime) -> list[str]:
    """The day's look, on some day: the terms of which somebody is told."""
    async with cell_session(hall.cell, hall.tenant_id) as session:
        await warn_of_providers(session, Agent(hall.tenant_id, at))
    told = await jobs(hall, TELL_ADMINISTRATORS)
    assert all(job["about"].startswith(str(hall.provider_id)) for job in told)
    return [job["about"].split()[-1] for job in told]


async def sent(hall: Hall, port: int) -> None:
    """Carry out what waits, as the worker does."""
    mail = Mail(MailServer("localhost", port, "none", "care@clinic.example"))
    context: Any = SimpleNamespace(
        additional_context={"identity": SimpleNamespace(cell=hall.cell, mail=mail)}
    )
    for task in (TELL_ADMINISTRATORS, TELL_PERSON):
        for args in await jobs(hall, task):
            await TASKS[task](context, **args)


async def test_of_what_ends_administrators_are_told_once_for_each_term(hall: Hall) -> None:
    ends = (await hall.provider()).expires_at
    assert ends is not None
    assert await look(hall, ends - 5 * DAY) == []  # a draft: nobody comes in by it
    await hall.open()
    told = [
        (left, term)
        for left in (61, 60, 59, 31, 30, 29, 8, 7, 6, 1, 0)
        for term in await look(hall, ends - left * DAY)
    ]
    assert told == [(60, "60"), (30, "30"), (7, "7")]
    # The certificate that follows has an end, and terms, of its own.
    soon = dt.datetime.now(dt.UTC) + 20 * DAY
    mine = IdentityProvider.tenant_id == hall.tenant_id
    await hall.house.execute(update(IdentityProvider).where(mine).values(expires_at=soon))
    admin = make.person(hall.house.tree.tenant, email="admin@clinic.example")
    await hall.save(admin)
    await hall.save(make.grant(admin, "system_admin", hall.house.tree.root))
    async with cell_session(hall.cell, hall.tenant_id) as session:
        await warn_of_providers(session, hall.agent)
    async with postbox() as box:
        await sent(hall, box.port)
        (mail,) = [one for one in box.taken if one["To"] == "admin@clinic.example"]
        assert mail["Subject"].endswith("end in 20 days")
        content: Any = mail
        assert "The last certificate of the identity provider 'Corp" in content.get_content()
        # What was seen to before the letter went out is not written about.
        async with cell_session(hall.cell, hall.tenant_id) as session:
            await warn_of_providers(session, Agent(hall.tenant_id, soon - 5 * DAY))
        far = dt.datetime.now(dt.UTC) + 300 * DAY
        await hall.house.execute(update(IdentityProvider).where(mine).values(expires_at=far))
        before = len(box.taken)
        await sent(hall, box.port)
        assert len(box.taken) == before


async def test_what_is_long_over_is_cleared(hall: Hall) -> None:
    await hall.open()
    await hall.come()
    await hall.begin()
    log = await hall.rows(SignIn)
    kept = [one.id for one in log]
    assert kept
    context: Any = SimpleNamespace(additional_context={"identity": SimpleNamespace(cell=hall.cell)})
    await forget_keys(context, tenant_id=str(hall.tenant_id))
    assert [one.id for one in await hall.rows(SignIn)] == kept
    assert await hall.rows(SamlRequest)
    assert await hall.rows(SamlMessage)
    old = {c.name: getattr(log[0], c.name) for c in SignIn.__table__.columns}
    past = dt.datetime.now(dt.UTC) - 401 * DAY
    await hall.save(SignIn(**old | {"id": new_id(), "created_at": past}))
    for model in (SamlRequest, SamlMessage):
        await hall.house.execute(update(model).values(until=past))
    await forget_keys(context, tenant_id=str(hall.tenant_id))
    assert [one.id for one in await hall.rows(SignIn)] == kept
    assert not await hall.rows(SamlRequest)
    assert not await hall.rows(SamlMessage)
