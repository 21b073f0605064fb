"""Administrators are written to about tokens that end, once for each term, and about people whom the guard holds."""

import datetime as dt
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest

from domain.audit import Agent
from domain.reminders import NotTaken
from identity.deferral import TELL_ADMINISTRATORS, TELL_PERSON
from identity.jobs import make_app
from identity.mail import Mail, MailServer
from identity.notices import TASKS
from identity.scim.departures import Limits, release
from identity.scim.notices import warn_of_tokens
from identity.scim.tokens import make_token, rotate_token
from identity.sync import cell_session
from tests import make
from tests.identity.receivers import free_port, postbox
from tests.identity.scim.conftest import USERS, Corp

pytestmark = pytest.mark.anyio
DAY = dt.timedelta(days=1)


async def jobs(corp: Corp, task: str) -> list[dict[str, Any]]:
    """What waits of a task of the health system, and take it away."""
    found = await corp.read(
        "select args from procrastinate_jobs where task_name = :task and args ->> 'tenant_id' = cast(:t as text)"
        " order by id",
        task=task,
    )
    await corp.write(
        "delete from procrastinate_jobs where task_name = :task and args ->> 'tenant_id' = cast(:t as text)",
        task=task,
    )
    return [row[0] for row in found]


async def sent(corp: Corp, port: int) -> None:
    """Carry out what waits, as the worker does."""
    mail = Mail(MailServer("localhost", port, "none", "care@clinic.example"))
    resources = SimpleNamespace(cell=corp.app, mail=mail)
    context: Any = SimpleNamespace(additional_context={"identity": resources})
    for task in (TELL_ADMINISTRATORS, TELL_PERSON):
        for args in await jobs(corp, task):
            await TASKS[task](context, **args)


async def look(corp: Corp, at: dt.datetime) -> None:
    """The day's look at tokens, on some day."""
    async with cell_session(corp.app, corp.tenant_id) as session:
        await warn_of_tokens(session, Agent(corp.tenant_id, at))


def words(mail: Message) -> tuple[str, str]:
    content: Any = mail
    return str(mail["Subject"]), content.get_content()


async def test_of_a_token_that_ends_administrators_are_told_once_for_each_term(corp: Corp) -> None:
    others = [make.person(corp.tree.tenant) for _ in range(3)]
    second, silent, gone = others
    second.email = gone.email = "second@clinic.example"
    silent.email, gone.active = None, False
    make.save(
        corp.database, *others, *(make.grant(one, "system_admin", corp.tree.root) for one in others)
    )
    async with corp.at_work() as (session, agent):
        short = await make_token(session, agent, "a month", lasts=30 * DAY)
        old = await make_token(session, agent, "replaced", lasts=90 * DAY)
        await rotate_token(session, agent, old.id, lasts=700 * DAY)
    now, ends = dt.datetime.now(dt.UTC), corp.token.expires_at
    told: list[tuple[int, int]] = []
    for left in (61, 60, 59, 31, 30, 29, 8, 7, 6, 1, 0):
        await look(corp, ends - left * DAY)
        about = [job["about"].split() for job in await jobs(corp, TELL_ADMINISTRATORS)]
        assert all(token == str(corp.token.id) for token, _ in about)
        told += [(left, int(term)) for _, term in about]
    assert told == [(60, 60), (30, 30), (7, 7)]
    await look(corp, now)
    assert await jobs(corp, TELL_ADMINISTRATORS) == [], (
        "a month's token is not near its end from the first day"
    )
    await look(corp, short.expires_at - 6 * DAY)
    async with postbox() as box:
        await sent(corp, box.port)
    assert {mail["To"] for mail in box.taken} == {corp.admin.email, second.email}
    subject, text = words(box.taken[0])
    assert subject.startswith("A token of your directory ends in ")
    assert "'a month'" in text
    assert "scim_" not in text
    assert len(box.ids) == 2


async def test_of_a_wave_administrators_are_told_once_and_not_when_it_was_released(
    corp: Corp,
) -> None:
    people = corp.crowd(Limits().few + 3)
    for person in people:
        await corp.patch(f"{USERS}/{person}", {"op": "replace", "value": {"active": False}})
    async with postbox() as box:
        await sent(corp, box.port)
        (mail,) = box.taken
        assert mail["To"] == corp.admin.email
        subject, text = words(mail)
        assert "more people than usual" in subject
        assert "3 of them are held" in text
        # Who is held already is asked for again: nothing is new.
        await corp.patch(f"{USERS}/{people[-1]}", {"op": "replace", "value": {"active": False}})
        assert await jobs(corp, TELL_ADMINISTRATORS) == []
        await corp.write(
            "delete from scim_departure where tenant_id = :t and refused_at is not null"
        )
        await corp.write("update scim_departure set asked_at = now() where tenant_id = :t")
        await corp.patch(f"{USERS}/{people[-1]}", {"op": "replace", "value": {"active": False}})
        async with corp.at_work(corp.admin.id) as (session, agent):
            await release(session, agent, DAY)
        await sent(corp, box.port)
        assert len(box.taken) == 1


async def test_a_letter_that_is_not_taken_is_tried_again(corp: Corp) -> None:
    await look(corp, corp.token.expires_at - 6 * DAY)
    with pytest.raises(NotTaken):
        await sent(corp, free_port())


def test_the_worker_knows_the_letters() -> None:
    assert set(TASKS) <= set(make_app("postgresql://nobody@127.0.0.1:1/none").tasks)
