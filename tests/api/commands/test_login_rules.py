"""How long logins last and whose first login makes a person: said by administrators of the health system, on record."""

import time
from typing import Any

import pytest

from domain.people import Person
from tests.api.commands.office import Answer, Office
from tests.api.commands.staff import admin, waiting

pytestmark = pytest.mark.anyio
RULES = "{ idleMinutes longestMinutes jitMode version }"
ASK = f"{{ loginRules {RULES} }}"


async def rules(office: Office, who: Person) -> dict[str, Any] | None:
    answer = await office.ask(who, ASK)
    assert answer.outcome == "DONE", answer.body
    found: dict[str, Any] | None = answer.data
    return found


async def do(office: Office, who: Person, mutation: str, **input: Any) -> Answer:
    """Change the rules, as somebody of whom it is known what became of them."""
    await office.ask(who, "{ viewer { userName } }")
    taken = f"{mutation[0].upper()}{mutation[1:]}Input"
    text = f"rules {RULES} userErrors {{ code message path }}"
    document = f"mutation($input: {taken}!) {{ {mutation}(input: $input) {{ {text} }} }}"
    return await office.ask(who, document, {"input": input})


async def refused(office: Office, who: Person, mutation: str, **input: Any) -> Answer:
    """A refusal that left nothing behind."""
    await office.ask(who, "{ viewer { userName } }")
    before, jobs = office.snapshot(), await waiting(office)
    answer = await do(office, who, mutation, **input)
    assert answer.outcome != "DONE", answer.body
    assert office.snapshot() == before
    assert await waiting(office) == jobs
    return answer


async def test_limits_are_set_and_hold_at_once(office: Office) -> None:
    one, before = admin(office), await rules(office, admin(office))
    assert before is not None
    given = {"version": before["version"], "idleMinutes": 5, "longestMinutes": 60}
    answer = await do(office, one, "setSessionLimits", **given)
    assert answer.outcome == "DONE", answer.body
    said = answer.data["rules"]
    assert (said["idleMinutes"], said["longestMinutes"]) == (5, 60)
    assert said["version"] == before["version"] + 1
    assert await rules(office, one) == said
    event = office.events()[-1]
    assert (event["action"], event["person_id"]) == ("tenant:configure", one.id)
    assert (await waiting(office))[-1][0] == "identity:sync_tenant"
    nurse = office.here.person("nurse@a")
    begun = int(time.time()) - 3700
    late = await office.ask(nurse, "{ viewer { userName } }", auth_time=begun)
    assert late.outcome == "UNAUTHENTICATED", "whoever has been in for longer is out"
    # What somebody has read before is not what it stands on any more.
    assert (await refused(office, one, "setSessionLimits", **given)).outcome == "CONFLICT"


async def test_the_mode_of_first_logins(office: Office) -> None:
    one = admin(office)
    for mode in ("ALL", "OFF"):
        before = await rules(office, one)
        assert before is not None
        answer = await do(office, one, "setJitMode", version=before["version"], mode=mode)
        assert answer.data["rules"]["jitMode"] == mode, answer.body
        assert office.events()[-1]["action"] == "tenant:configure"
        assert await rules(office, one) == answer.data["rules"]


async def test_what_is_not_taken(office: Office) -> None:
    one = admin(office)
    now = await rules(office, one)
    assert now is not None
    for idle, longest in ((0, 60), (61, 60), (60, 1441), (-5, 5)):
        given = {"version": now["version"], "idleMinutes": idle, "longestMinutes": longest}
        answer = await refused(office, one, "setSessionLimits", **given)
        assert answer.outcome == "SESSION_LIMITS", (idle, longest)


@pytest.mark.parametrize(
    "held", ["clinic_admin@a", "regional_director@r", "privacy_officer@system", "nurse@a"]
)
async def test_only_system_administrators(office: Office, held: str) -> None:
    who = office.here.person(held)
    assert await rules(office, who) is None
    limits = {"version": 1, "idleMinutes": 5, "longestMinutes": 60}
    for mutation, given in (
        ("setSessionLimits", limits),
        ("setJitMode", {"version": 1, "mode": "ALL"}),
    ):
        assert (await refused(office, who, mutation, **given)).outcome == "FORBIDDEN"
