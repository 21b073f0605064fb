"""Who needs a second factor is previewed and changed; sensitive actions ask for a fresh proof; two reset a device."""

import asyncio
import json
import time
from typing import Any

import pytest

from api.plan.step_up import BY_MUTATION, BY_PERMISSION, FRESH
from api.schema import build_schema
from authz.templates import VARIANTS, load_policy
from domain.people import Person
from tests.api.commands.office import Answer, Office, local
from tests.api.commands.staff import newcomer

pytestmark = pytest.mark.anyio
SETTINGS = "{ mfaSettings { policy methods graceDays version } }"
UPDATE = (
    "mutation($input: UpdateMfaSettingsInput!) { updateMfaSettings(input: $input) {"
    " mfaSettings { policy methods graceDays version } userErrors { code path } } }"
)
PREVIEW = (
    "query($policy: MfaPolicy!, $grace: Int!) { mfaPreview(policy: $policy, methods: [TOTP], graceDays: $grace)"
    " { required newlyRequired neverShown concerned { person userName hasShownOne enrolBy } } }"
)
VIEWER = "{ viewer { secondFactor { shown provenAt enrolBy } } }"
WEAK = {"amr": ["pwd"], "acr": "1"}


@pytest.fixture
def admins(office: Office) -> tuple[Person, Person]:
    return newcomer(office, "system_admin@system"), newcomer(office, "system_admin@system")


async def raw(office: Office, who: Person, text: str, given: Any, **claims: Any) -> Any:
    """The whole response, headers included; the token's own claims replace the office's."""
    token = office.here.authority.token(None, sub=who.subject, **claims)
    body = json.dumps({"query": text, "variables": {"input": given}})
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return await office.http.post("/", content=body.encode(), headers=headers)


async def settings(office: Office, who: Person) -> dict[str, Any]:
    found: dict[str, Any] = (await office.ask(who, SETTINGS)).data
    return found


async def say(office: Office, who: Person, **changes: Any) -> Answer:
    now = await settings(office, who)
    return await office.ask(who, UPDATE, {"input": now | changes})


async def test_the_rule_is_previewed_changed_and_holds_at_once(
    office: Office, admins: tuple[Person, Person]
) -> None:
    admin, _ = admins
    nurse, officer = newcomer(office, "nurse@a"), newcomer(office, "privacy_officer@system")
    before = await settings(office, admin)
    assert before["policy"] == "NONE"
    assert (await office.ask(nurse, SETTINGS)).data is None
    assert (await settings(office, officer)) == before
    assert await raw_viewer(office, nurse) == {"shown": False, "provenAt": None, "enrolBy": None}

    async def previewed(who: Person, policy: str, grace: int = 7) -> Any:
        return (await office.ask(who, PREVIEW, {"policy": policy, "grace": grace})).data

    assert await previewed(officer, "ALL") is None
    everybody = await previewed(admin, "ALL")
    assert everybody["required"] == everybody["newlyRequired"]
    found = {one["person"]: one for one in everybody["concerned"]}
    assert found[f"Person:{nurse.id}"]["hasShownOne"] is False
    assert found[f"Person:{nurse.id}"]["enrolBy"] is not None
    assert found[f"Person:{admin.id}"]["hasShownOne"] is True
    assert found[f"Person:{admin.id}"]["enrolBy"] is None
    few = await previewed(admin, "ADMINS")
    assert f"Person:{nurse.id}" not in {one["person"] for one in few["concerned"]}
    assert (await settings(office, admin)) == before, "looking changes nothing"

    assert (await say(office, officer, policy="ALL")).outcome == "FORBIDDEN"
    for wrong, code in (
        ({"methods": ["RECOVERY"]}, "MFA_METHODS"),
        ({"methods": ["TOTP", "TOTP"]}, "MFA_METHODS"),
        ({"graceDays": 91}, "MFA_GRACE"),
        ({"graceDays": -1}, "MFA_GRACE"),
    ):
        assert (await say(office, admin, **wrong)).outcome == code
    assert (await say(office, admin, version=before["version"] - 1)).outcome == "CONFLICT"
    changed = await say(office, admin, policy="ALL", methods=["PASSKEY", "RECOVERY"], graceDays=7)
    try:
        assert changed.data["mfaSettings"] | {"version": 0} == {
            **{"policy": "ALL", "methods": ["PASSKEY", "RECOVERY"], "graceDays": 7, "version": 0}
        }
        viewer = await raw_viewer(office, nurse)
        assert viewer["enrolBy"] is not None
        # The administrator's own app counts no more, from this request on.
        assert (await office.ask(admin, SETTINGS)).outcome == "MFA_REQUIRED"
        assert (await raw_viewer(office, admin, amr=["pwd", "hwk"]))["shown"] is True
    finally:
        office.change(
            "update tenant set mfa_policy = 'none', mfa_methods = '{totp,passkey,recovery}', mfa_grace_days = 0,"
            " mfa_all_since = null, mfa_admins_since = null, version = version + 1 where tenant_id = %s",
            office.here.tenant.tenant_id,
        )
    assert (await raw_viewer(office, nurse))["enrolBy"] is None


async def raw_viewer(office: Office, who: Person, **claims: Any) -> Any:
    answer = await raw(office, who, VIEWER, {}, **WEAK | claims)
    return answer.json()["data"]["viewer"]["secondFactor"]


async def test_sensitive_actions_ask_for_a_fresh_proof(
    office: Office, admins: tuple[Person, Person]
) -> None:
    """RFC 9470, section 3: the challenge in the header, the same beside the code; nothing is carried out."""
    admin, _ = admins
    given = await settings(office, admin) | {"graceDays": 3}
    now = int(time.time())
    strong = {"amr": ["pwd", "otp"], "acr": "mfa"}
    for claims in (WEAK, strong | {"auth_time": now - FRESH - 5}):
        answer = await raw(office, admin, UPDATE, given, **claims)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == (
            'Bearer error="insufficient_user_authentication", acr_values="mfa", max_age="300"'
        )
        (error,) = answer.json()["errors"]
        assert error["extensions"] == {
            **{"code": "STEP_UP_REQUIRED", "acrValues": "mfa", "maxAge": FRESH}
        }
    assert (await settings(office, admin))["graceDays"] == 0
    # Who may not do it is not asked to prove anything.
    nurse = newcomer(office, "nurse@a")
    answer = await raw(office, nurse, UPDATE, given, **WEAK)
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    # Which grants are sensitive depends on the role.
    give = "mutation($input: GiveGrantInput!) { giveGrant(input: $input) { userErrors { code } } }"
    somebody = newcomer(office, "nurse@b")
    for role, code in (("clinic_admin", "STEP_UP_REQUIRED"), ("biller", None)):
        grant = {"person": f"Person:{somebody.id}", "role": role, "unit": office.here.unit("b")}
        told = (await raw(office, admin, give, grant, **WEAK)).json()
        assert [e["extensions"]["code"] for e in told.get("errors", [])] == [code] * bool(code)


def test_the_table_names_what_there_is() -> None:
    mutations = build_schema()._schema.mutation_type
    assert mutations is not None
    assert BY_MUTATION.keys() <= mutations.fields.keys()
    known = frozenset[str]().union(*(load_policy(v).permissions for v in VARIANTS))
    assert BY_PERMISSION.keys() <= known


async def test_two_administrators_reset_a_device(
    office: Office, admins: tuple[Person, Person]
) -> None:
    first, second = admins
    nurse = newcomer(office, "nurse@a")
    before: dict[str, Any] = {"sid": f"s-{nurse.id}", "iat": int(time.time()) - 2}
    assert (await office.ask(nurse, VIEWER, **before)).outcome == "DONE"
    lost = {"person": f"Person:{nurse.id}", "reason": "left on the bus; called back at the clinic"}

    async def do(who: Person, mutation: str, **given: Any) -> Answer:
        return await office.do(who, mutation, "state version", **given)

    assert (await do(newcomer(office, "clinic_admin@a"), "requestDeviceReset", **lost)).outcome == (
        "FORBIDDEN"
    )
    assert (await do(first, "requestDeviceReset", **lost | {"reason": " "})).outcome == "INVALID"
    own = lost | {"person": f"Person:{first.id}"}
    assert (await do(first, "requestDeviceReset", **own)).error["reason"] == "OWN_DEVICES"
    asked = await asyncio.gather(*(do(who, "requestDeviceReset", **lost) for who in admins))
    assert sorted(answer.outcome for answer in asked) == ["ALREADY_REQUESTED", "DONE"]
    (made,) = [a.data["deviceReset"] for a in asked if a.outcome == "DONE"]
    asker, other = (first, second) if asked[0].outcome == "DONE" else (second, first)
    given = {"id": made["id"], "version": made["version"]}
    mine = await do(asker, "approveDeviceReset", **given)
    assert mine.error.get("reason") == "OWN_REQUEST", mine.body
    stale = await do(other, "approveDeviceReset", **given | {"version": 7})
    assert stale.outcome == "CONFLICT"
    assert (await office.ask(nurse, VIEWER, **before)).outcome == "DONE", "nothing happened yet"
    listed = await office.ask(
        other,
        "{ deviceResets(state: PENDING) { nodes { id reason person { id } requestedBy { id } } } }",
    )
    assert listed.data["nodes"] == [
        {
            "id": made["id"],
            "reason": lost["reason"],
            "person": {"id": f"Person:{nurse.id}"},
            "requestedBy": {"id": f"Person:{asker.id}"},
        }
    ]
    done = await do(other, "approveDeviceReset", **given)
    assert done.data["deviceReset"]["state"] == "APPROVED"
    assert (await office.ask(nurse, VIEWER, **before)).outcome == "UNAUTHENTICATED"
    jobs = office.query(
        "select task_name from procrastinate_jobs where args ->> 'person_id' = %s", str(nurse.id)
    )
    assert {"identity:reset_devices", "identity:tell_person", "identity:end_sessions"} <= {
        job["task_name"] for job in jobs
    }
    again = await do(
        asker, "approveDeviceReset", **given | {"version": done.data["deviceReset"]["version"]}
    )
    assert again.outcome == "ILLEGAL_STATE", "it is decided once"


async def test_what_has_lapsed_is_asked_for_anew(
    office: Office, admins: tuple[Person, Person]
) -> None:
    asker, other = admins
    nurse = newcomer(office, "nurse@a")
    lost = {"person": f"Person:{nurse.id}", "reason": "lost"}

    async def do(who: Person, mutation: str, **given: Any) -> Answer:
        return await office.do(who, mutation, "state version", **given)

    async def asked() -> dict[str, Any]:
        made = (await do(asker, "requestDeviceReset", **lost)).data["deviceReset"]
        return {"id": made["id"], "version": made["version"]}

    given = await asked()
    past = "update device_reset set lapses_at = now() - interval '1 s' where id = %s"
    office.change(past, local(given["id"]))
    assert (await do(other, "approveDeviceReset", **given)).outcome == "REQUEST_LAPSED"
    given = await asked()
    # Asked for by somebody who administers no more: one person alone would have decided.
    office.change("update person set active = false where id = %s", asker.id)
    assert (await do(other, "approveDeviceReset", **given)).outcome == "REQUESTER_GONE"
    declined = await do(other, "declineDeviceReset", **given)
    assert declined.data["deviceReset"]["state"] == "DECLINED"
    foreign = office.there.person("system_admin@system")
    assert (await do(foreign, "approveDeviceReset", **given)).outcome == "NOT_FOUND"
