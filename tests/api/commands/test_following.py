"""Rules of which somebody else answers from now on, and trying again to let Keycloak follow."""

from typing import Any

import pytest

from domain.model import new_id
from domain.people import Person
from domain.realms import PersonSync, RealmCheck
from tests import make, providers
from tests.api.commands.office import Office
from tests.api.commands.staff import admin, do, newcomer, refused, waiting

pytestmark = pytest.mark.anyio


async def test_a_rule_is_taken_over_by_somebody_who_may_give_its_role(office: Office) -> None:
    author, one = newcomer(office, "system_admin@system"), admin(office)
    of = providers.provider(office.here.tenant)
    rule = providers.rule(author, "nurses", "nurse", office.here.units["a"], of)
    office.here.save(of)
    office.here.save(rule)
    node: dict[str, Any] = {"id": f"RoleMapping:{rule.id}", "version": 1}
    for who in ("clinic_admin@a", "privacy_officer@system", "nurse@a"):
        answer = await refused(office, office.here.person(who), "takeOverRoleMapping", **node)
        assert answer.outcome in ("FORBIDDEN", "NOT_FOUND"), who
    old = node | {"version": 2}
    assert (await refused(office, one, "takeOverRoleMapping", **old)).outcome == "CONFLICT"
    done = await do(office, one, "takeOverRoleMapping", "version createdBy { id }", **node)
    assert done.outcome == "DONE", done.body
    assert done.data["roleMapping"]["createdBy"] == {"id": f"Person:{one.id}"}
    assert (await waiting(office))[-1][0] == "identity:apply_rules"


async def test_somebodys_user_is_brought_up_to_date_again(office: Office) -> None:
    whom: Person = newcomer(office, "nurse@a")
    failed = {"tried_at": make.NOW, "failed": True, "cause": "USER_TAKEN"}
    key = {"tenant_id": whom.tenant_id, "person_id": whom.id}
    office.here.save(PersonSync(**key, **failed))
    node = {"id": f"Person:{whom.id}"}
    nurse = await refused(office, office.here.person("nurse@a"), "syncPerson", **node)
    assert nurse.outcome == "FORBIDDEN"
    boss = office.here.person("clinic_admin@a")
    done = await do(office, boss, "syncPerson", "syncState syncCause syncedAt shutOut", **node)
    assert done.outcome == "DONE", done.body
    found = {name: done.data["person"][name] for name in ("syncState", "syncCause", "shutOut")}
    assert found == {"syncState": "FAILED", "syncCause": "USER_TAKEN", "shutOut": False}
    assert (await waiting(office))[-1] == ("identity:sync_person", str(whom.id))


async def test_comparisons_are_read_by_who_reads_the_health_system(office: Office) -> None:
    made = RealmCheck(
        tenant_id=office.here.tenant.tenant_id,
        id=new_id(),
        started_at=make.NOW,
        findings=["STRANGER 1"],
    )
    office.here.save(made)
    text = "{ realmChecks(first: 1) { nodes { findings } } }"
    for who, sees in (("privacy_officer@system", True), ("nurse@a", False)):
        answer = await office.ask(office.here.person(who), text)
        nodes = answer.data or {}
        assert bool(nodes.get("nodes")) is sees, (who, answer.body)


async def test_a_comparison_is_asked_for_and_its_report_is_read(office: Office) -> None:
    one = admin(office)
    for held in ("clinic_admin@a", "privacy_officer@system", "nurse@a"):
        answer = await refused(office, office.here.person(held), "checkRealm")
        assert answer.outcome in ("FORBIDDEN", "NOT_FOUND"), held
    asked = await do(office, one, "checkRealm", "startedAt finishedAt findings")
    assert asked.outcome == "DONE", asked.body
    report = asked.data["realmCheck"]
    assert (report["finishedAt"], report["findings"]) == (None, [])
    assert (await waiting(office))[-1][0] == "identity:check_realm"
    assert office.events()[-1]["action"] == "tenant:configure"
    (job,) = office.query(
        "select args from procrastinate_jobs where task_name = 'identity:check_realm'"
    )
    assert f"RealmCheck:{job['args']['check_id']}" == report["id"]
    # One at a time, but one that never ends keeps nobody waiting for ever.
    assert (await refused(office, one, "checkRealm")).outcome == "CHECK_UNDER_WAY"
    page = (await office.ask(one, "{ realmChecks(first: 1) { nodes { id finishedAt } } }")).data
    assert page["nodes"] == [{"id": report["id"], "finishedAt": None}]
    office.change("update realm_check set started_at = started_at - interval '61 minutes'")
    assert (await do(office, one, "checkRealm", "finishedAt")).outcome == "DONE"
