"""The tree: made, renamed, moved and closed below one's own node, with what it changes told before."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.commands.cases import ADMINS, EVERYBODY, LOWEST, Scene, booked
from tests.api.commands.office import Office, local, opened
from tests.api.commands.staff import admin, do, newcomer, refused
from tests.database import Database

pytestmark = pytest.mark.anyio

SHOWN = "name level zone active version parent { id }"
EFFECTS = (
    "effects { patients appointments encounters gaining { person givenName familyName role unit }"
    " losing { person role unit } }"
)


@pytest.fixture
async def office(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """Two health systems of its own for each test: a tree that changed is no other test's."""
    async with opened(database, redis_url, tmp_path) as made:
        yield made


def tree_version(office: Office) -> int:
    text = "select tree_version as v from tenant where tenant_id = %s"
    return int(office.query(text, office.here.tenant.tenant_id)[0]["v"])


async def changed(office: Office, who: Any, mutation: str, **input: Any) -> Any:
    """A change of a unit and its effects."""
    text = (
        f"mutation($input: {mutation[0].upper()}{mutation[1:]}Input!) {{ {mutation}(input: $input)"
        f" {{ orgUnit {{ id {SHOWN} }} {EFFECTS} userErrors {{ code path }} }} }}"
    )
    await office.ask(who, "{ viewer { me { id } } }")
    return await office.ask(who, text, {"input": input})


async def made_below(office: Office, who: Any, parent: str, name: str, **more: Any) -> Any:
    input = {"parent": office.here.unit(parent), "name": name} | more
    return await do(office, who, "createOrgUnit", SHOWN, **input)


@pytest.mark.parametrize(
    ("asker", "parent", "outcome"),
    [
        ("clinic_admin@a", "a", "DONE"),
        ("clinic_admin@a", "b", "FORBIDDEN"),
        ("clinic_admin@a", "r", "FORBIDDEN"),
        ("clinic_admin@a1", "a", "FORBIDDEN"),
        ("regional_director@r", "r", "DONE"),
        ("regional_director@r", "a", "DONE"),
        ("regional_director@r", "q", "FORBIDDEN"),
        ("regional_director@r", "system", "FORBIDDEN"),
        ("system_admin@system", "system", "DONE"),
        ("system_admin@system", "c", "DONE"),
        *(
            (f"{role}@{LOWEST.get(role, 'a')}", "a", "FORBIDDEN")
            for role in sorted(EVERYBODY - ADMINS)
        ),
    ],
)
async def test_units_are_made_below_ones_own(
    office: Office, asker: str, parent: str, outcome: str
) -> None:
    who, version = office.here.person(asker), tree_version(office)
    input: dict[str, Any] = {"parent": office.here.unit(parent), "name": "Neu"}
    if parent in ("r", "q"):
        input["zone"] = "Europe/Berlin"
    if outcome != "DONE":
        answer = await refused(office, who, "createOrgUnit", **input)
        assert answer.error["code"] == outcome
        assert tree_version(office) == version
        return
    known = office.recorded()
    answer = await do(office, who, "createOrgUnit", SHOWN, **input)
    assert answer.outcome == "DONE", answer.body
    unit = answer.data["orgUnit"]
    level = {"system": "REGION", "r": "CLINIC"}.get(parent, "DEPARTMENT")
    assert (unit["level"], unit["active"], unit["version"]) == (level, True, 1)
    assert unit["parent"] == {"id": input["parent"]}
    (event,) = office.events(known)
    assert (event["action"], event["subject_ids"]) == ("org_unit:create", [local(unit["id"])])
    assert tree_version(office) == version + 1
    units = (await office.ask(who, "{ organization { id } }")).data
    assert {"id": unit["id"]} in units
    assert (await office.ask(who, "{ viewer { me { id } } }")).outcome == "DONE"


@pytest.mark.parametrize(
    ("parent", "wrong", "code", "path"),
    [
        ("a1", {}, "NO_UNIT_BELOW", ["parent"]),
        ("a", {"name": ""}, "INVALID", ["name"]),
        ("a", {"name": "77"}, "INVALID", ["name"]),
        ("a", {"name": "x" * 201}, "INVALID", ["name"]),
        ("r", {}, "INVALID", ["zone"]),
        ("r", {"zone": "Mars/Olympus"}, "INVALID", ["zone"]),
        ("r", {"zone": ""}, "INVALID", ["zone"]),
        ("a", {"zone": ""}, "INVALID", ["zone"]),
        ("r", {"zone": "localtime"}, "INVALID", ["zone"]),
        ("r", {"zone": "Factory"}, "INVALID", ["zone"]),
        ("system", {"level": "DEPARTMENT"}, "LEVEL_DOES_NOT_FIT", ["level"]),
        ("a", {"level": "CLINIC", "zone": "UTC"}, "LEVEL_DOES_NOT_FIT", ["level"]),
        ("system", {"level": "SYSTEM"}, "LEVEL_DOES_NOT_FIT", ["level"]),
    ],
)
async def test_what_is_no_unit(
    office: Office, parent: str, wrong: dict[str, str], code: str, path: list[str]
) -> None:
    input = {"parent": office.here.unit(parent), "name": "Neu"} | wrong
    answer = await refused(office, admin(office), "createOrgUnit", **input)
    assert (answer.user_error["code"], answer.user_error["path"]) == (code, path)


async def test_a_small_system_has_clinics_right_below_it(office: Office) -> None:
    answer = await made_below(office, admin(office), "system", "Lone", level="CLINIC", zone="UTC")
    assert answer.data["orgUnit"]["level"] == "CLINIC"


async def test_a_unit_is_renamed(office: Office) -> None:
    who, input = admin(office), {"id": office.here.unit("a"), "version": 1, "name": "Alpha"}
    answer = await do(office, who, "renameOrgUnit", SHOWN, **input)
    assert (answer.data["orgUnit"]["name"], answer.data["orgUnit"]["version"]) == ("Alpha", 2)
    stale = await refused(office, who, "renameOrgUnit", **input)
    assert stale.error == {"code": "CONFLICT", "currentVersion": 2}
    own = office.here.person("clinic_admin@a")  # strictly below one's own node
    assert (await refused(office, own, "renameOrgUnit", **input)).outcome == "FORBIDDEN"
    ward: dict[str, Any] = {"id": office.here.unit("a1"), "version": 1, "name": "Ward"}
    assert (await do(office, own, "renameOrgUnit", **ward)).outcome == "DONE"
    theirs: dict[str, Any] = {"id": office.there.unit("a"), "version": 1, "name": "Mine"}
    assert (await refused(office, who, "renameOrgUnit", **theirs)).outcome == "NOT_FOUND"


# -- moving -----------------------------------------------------------------------------------


async def test_what_a_move_changes_is_told_before_and_after(office: Office) -> None:
    here, who = office.here, admin(office)
    loses, gains = newcomer(office, "nurse@r"), newcomer(office, "nurse@q")
    both, clinic = newcomer(office, "nurse@r", "nurse@q"), newcomer(office, "nurse@a", "nurse@r")
    above, other_role = (
        newcomer(office, "nurse@system", "nurse@q"),
        newcomer(office, "nurse@r", "biller@q"),
    )
    gone, over = newcomer(office, "nurse@r"), newcomer(office, "nurse@r")
    office.change("update person set active = false where id = %s", gone.id)
    office.change("update role_grant set valid_until = now() where person_id = %s", over.id)
    here.patient("a"), here.patient("a1"), here.patient("b")
    Scene(office, here, "a1", who).appointment()
    input = {"id": here.unit("a"), "version": 1, "region": here.unit("q")}
    before = office.snapshot()
    told = await changed(office, who, "moveClinic", **input, preview=True)
    assert office.snapshot() == before
    effects = told.data["effects"]
    assert told.data["orgUnit"]["parent"] == {"id": here.unit("r")}
    assert {(g["person"], g["role"]) for g in effects["gaining"]} == {
        (f"Person:{gains.id}", "nurse"),
        (f"Person:{other_role.id}", "biller"),
    }
    assert {(g["person"], g["role"], g["unit"]) for g in effects["losing"]} == {
        (f"Person:{p.id}", "nurse", here.unit("r")) for p in (loses, other_role)
    }
    unchanged = {f"Person:{p.id}" for p in (both, clinic, above, gone, over)}
    assert not unchanged & {g["person"] for g in (*effects["gaining"], *effects["losing"])}
    assert (effects["patients"], effects["appointments"]) == (3, 1)
    seen = "query($n: ID!) { patients(node: $n) { totalCount } }"
    at = {"n": here.unit("a")}
    assert (await office.ask(loses, seen, at)).data["totalCount"] == 3
    assert (await office.ask(gains, seen, at)).data is None
    known, version = office.recorded(), tree_version(office)
    moved = await changed(office, who, "moveClinic", **input)
    assert moved.data["effects"] == effects
    assert moved.data["orgUnit"]["parent"] == {"id": here.unit("q")}
    (event,) = [event for event in office.events(known) if event["outcome"] == "done"]
    assert event["action"] == "org_unit:move"
    assert tree_version(office) == version + 1
    assert (await office.ask(loses, seen, at)).data is None
    assert (await office.ask(gains, seen, at)).data["totalCount"] == 3


@pytest.mark.parametrize(
    ("asker", "clinic", "region", "outcome"),
    [
        (("regional_director@r",), "a", "q", "FORBIDDEN"),
        (("regional_director@q",), "a", "q", "FORBIDDEN"),
        (("regional_director@r", "regional_director@q"), "a", "q", "DONE"),
        (("clinic_admin@a", "regional_director@q"), "a", "q", "FORBIDDEN"),
        (("provider@system",), "a", "q", "FORBIDDEN"),
        ((), "a", "q", "NOT_FOUND"),
        (("system_admin@system",), "a1", "q", "NOT_A_CLINIC"),
        (("system_admin@system",), "a", "b", "NOT_A_REGION"),
        (("system_admin@system",), "a", "r", "THERE_ALREADY"),
    ],
    ids=str,
)
async def test_a_move_is_judged_at_both_ends(
    office: Office, asker: tuple[str, ...], clinic: str, region: str, outcome: str
) -> None:
    who, version = office.here.person(*asker), tree_version(office)
    input = {"id": office.here.unit(clinic), "version": 1, "region": office.here.unit(region)}
    for preview in (True, False):
        if outcome == "DONE":
            assert (await changed(office, who, "moveClinic", **input, preview=preview)).data
        else:
            answer = await refused(office, who, "moveClinic", **input, preview=preview)
            assert answer.outcome == outcome
    assert tree_version(office) == version + (outcome == "DONE")


async def test_a_repeated_move_moves_once(office: Office) -> None:
    who = admin(office)
    input = {"id": office.here.unit("a"), "version": 1, "region": office.here.unit("q")}
    first = await changed(office, who, "moveClinic", **input, idempotencyKey="move")
    before = office.snapshot()
    again = await changed(office, who, "moveClinic", **input, idempotencyKey="move")
    assert again.data["orgUnit"] == first.data["orgUnit"]
    assert again.data["effects"] is None
    assert office.snapshot() == before
    stale = await refused(office, who, "moveClinic", **input | {"region": office.here.unit("r")})
    assert stale.outcome == "CONFLICT"


# -- closing ----------------------------------------------------------------------------------


async def test_a_closed_clinic_is_read_and_takes_nothing_new(office: Office) -> None:
    here, who = office.here, admin(office)
    desk = here.person("front_desk@b")
    scene = Scene(office, here, "b", desk)
    kept, given = scene.appointment(), booked(scene)
    scene.encounter(state="onleave")
    scene.encounter(state="cancelled")
    at: dict[str, Any] = {"id": here.unit("b"), "version": 1}
    early = await refused(office, who, "closeOrgUnit", **at)
    assert (early.outcome, early.user_error["path"]) == ("HAS_OPEN_UNITS", ["id"])
    ward: dict[str, Any] = {"id": here.unit("b1"), "version": 1}
    assert (await do(office, who, "closeOrgUnit", **ward)).outcome == "DONE"
    before = office.snapshot()
    told = await changed(office, who, "closeOrgUnit", **at, preview=True)
    effects = told.data["effects"]
    assert [effects[each] for each in ("patients", "appointments", "encounters")] == [4, 1, 1]
    assert told.data["orgUnit"]["active"]
    assert office.snapshot() == before
    known = office.recorded()
    closed = await changed(office, who, "closeOrgUnit", **at)
    assert not closed.data["orgUnit"]["active"]
    (event,) = office.events(known)
    assert (event["action"], event["clinic_id"]) == ("org_unit:close", here.units["b"].id)
    # What was there is read as before, and can be taken back.
    read = "query($n: ID!) { appointments(node: $n) { nodes { id } } }"
    shown = (await office.ask(desk, read, {"n": here.unit("b")})).data
    assert shown == {"nodes": [{"id": f"Appointment:{kept.id}"}]}
    for mutation, input in (
        ("bookAppointment", given),
        ("registerPatient", {"unit": here.unit("b"), "demographics": named()}),
        ("addPatientSite", {"unit": here.unit("b"), "patient": given["patient"]}),
    ):
        answer = await refused(office, desk, mutation, **input)
        assert (answer.outcome, answer.user_error["path"]) == ("UNIT_CLOSED", ["unit"]), mutation
    cancel: dict[str, Any] = {"id": f"Appointment:{kept.id}", "version": 1}
    assert (await do(office, desk, "cancelAppointment", **cancel)).outcome == "DONE"
    again = await refused(office, who, "closeOrgUnit", **at | {"version": 2})
    assert again.outcome == "UNIT_CLOSED"


def named() -> dict[str, str]:
    return {"familyName": "Zyxwvutson", "givenName": "Ana"}


async def test_a_booking_under_way_does_not_come_to_a_closed_clinic(office: Office) -> None:
    """The asker still has the old tree in memory: the stamp of the booking finds no row, and it is asked again."""
    here, desk = office.here, office.here.person("front_desk@c")
    given = booked(Scene(office, here, "c", desk))
    await office.ask(desk, "{ viewer { me { id } } }")
    for unit in ("c1", "c"):
        closed = await do(office, admin(office), "closeOrgUnit", id=here.unit(unit), version=1)
        assert closed.outcome == "DONE"
    answer = await office.do(desk, "bookAppointment", **given)
    assert answer.outcome == "UNIT_CLOSED"
    assert (
        office.query("select 1 from appointment where patient_id = %s", local(given["patient"]))
        == []
    )


@pytest.mark.parametrize(
    ("asker", "unit", "outcome"),
    [
        ("clinic_admin@a", "a1", "DONE"),
        ("clinic_admin@a", "a", "FORBIDDEN"),
        ("clinic_admin@a1", "a1", "FORBIDDEN"),
        ("clinic_admin@a", "b1", "FORBIDDEN"),
        ("regional_director@r", "b1", "DONE"),
        ("regional_director@r", "r", "FORBIDDEN"),
        ("system_admin@system", "system", "FORBIDDEN"),
        ("privacy_officer@system", "a1", "FORBIDDEN"),
    ],
)
async def test_units_are_closed_below_ones_own(
    office: Office, asker: str, unit: str, outcome: str
) -> None:
    who = office.here.person(asker)
    input: dict[str, Any] = {"id": office.here.unit(unit), "version": 1}
    if outcome == "DONE":
        stale = await refused(office, who, "closeOrgUnit", **input | {"version": 7})
        assert stale.error == {"code": "CONFLICT", "currentVersion": 1}
        assert (await do(office, who, "closeOrgUnit", **input)).outcome == "DONE"
    else:
        assert (await refused(office, who, "closeOrgUnit", **input)).outcome == outcome


TABLE = "region;clinic;department;zone\nEast;Fir;Ward;Europe/Rome\nEast;Fir;Lab;\n;Gum;;UTC\n"


async def imported(office: Office, who: Any, table: str, **more: Any) -> Any:
    """What an import of the tree answers."""
    text = (
        "mutation($input: ImportOrganizationInput!) { importOrganization(input: $input) { orgUnit { id }"
        " made known problems { line code column } userErrors { code } } }"
    )
    answer = await office.ask(who, text, {"input": {"table": table} | more})
    return answer.body["data"]["importOrganization"]


async def test_a_table_is_looked_at_then_made_in_one_go_or_not_at_all(office: Office) -> None:
    admin = office.here.person("system_admin@system")
    before = tree_version(office)
    dry = await imported(office, admin, TABLE)
    assert dry["made"] == 5
    bad = await imported(office, admin, TABLE + "West;Yew;;\n", dryRun=False)
    assert bad["problems"] == [{"line": 5, "code": "ZONE_MISSING", "column": "zone"}]
    assert tree_version(office) == before
    done = await imported(office, admin, TABLE, dryRun=False, idempotencyKey="table")
    assert done["problems"] == []
    assert tree_version(office) == before + 1
    await office.ask(admin, "{ viewer { me { id } } }")
    again = await imported(office, admin, TABLE, dryRun=False, idempotencyKey="table")
    assert again["made"] is None
    known = await imported(office, admin, TABLE, dryRun=False)
    assert (known["made"], known["known"]) == (0, 3)
    text = (
        "select count(*) as n from audit_event where tenant_id = %s and action = 'org_unit:create'"
    )
    assert office.query(text, office.here.tenant.tenant_id)[0]["n"] == 5
    for role in ("regional_director@r", "clinic_admin@a", "nurse@a"):
        who = office.here.person(role)
        answer = await refused(office, who, "importOrganization", table=TABLE, dryRun=False)
        assert answer.outcome == "FORBIDDEN", role


async def test_a_thousand_units_are_made_at_once(office: Office) -> None:
    rows = "".join(f"East,Clinic {n},Ward {m},UTC\n" for n in range(100) for m in range(9))
    table = "region,clinic,department,zone\n" + rows
    admin = office.here.person("system_admin@system")
    done = await imported(office, admin, table, dryRun=False)
    assert done["made"] == 1001
