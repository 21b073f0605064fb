"""What the tests of people, roles and units share: askers that know what became of them, and refusals without a trace."""

import datetime as dt
from typing import Any

from domain.people import Person
from tests.api.commands.office import Answer, Office


def at(days: float) -> str:
    """An instant so many days from now."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).isoformat()


def given(office: Office, whom: Person, role: str, unit: str, **more: Any) -> dict[str, Any]:
    named = {"person": f"Person:{whom.id}", "role": role, "unit": office.here.unit(unit)}
    return named | more


def newcomer(office: Office, *held: str) -> Person:
    """Somebody of whom no other test knows."""
    return office.here.person(*held, fresh=True)


def colleague(office: Office) -> Person:
    """Somebody who works elsewhere, of whom no other test knows: any administrator may give them a further role."""
    return newcomer(office, "front_desk@c1")


async def do(office: Office, who: Person, mutation: str, select: str = "", **input: Any) -> Answer:
    """As `Office.do`, after a question that tells the asker what has become of them."""
    await office.ask(who, "{ viewer { me { id } } }")
    return await office.do(who, mutation, select, **input)


async def refused(office: Office, who: Person, mutation: str, **input: Any) -> Answer:
    """A refusal that left nothing behind."""
    await office.ask(who, "{ viewer { me { id } } }")
    before, jobs = office.snapshot(), await waiting(office)
    answer = await office.do(who, mutation, **input)
    assert answer.outcome != "DONE", answer.body
    assert office.snapshot() == before
    assert await waiting(office) == jobs
    return answer


async def waiting(office: Office) -> list[tuple[str, str]]:
    """The jobs that have been deferred: what and for whom."""
    rows = office.query(
        "select task_name, args ->> 'person_id' as person from procrastinate_jobs order by id"
    )
    return [(row["task_name"], row["person"]) for row in rows]


def admin(office: Office) -> Person:
    return office.here.person("system_admin@system")
