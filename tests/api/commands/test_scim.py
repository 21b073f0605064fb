"""The sync page through the API: tokens with one look at their text, requests, who is held and let go."""

import datetime as dt
from typing import Any

import pytest

from domain.model import new_id
from domain.scim_departures import ScimDeparture
from domain.scim_requests import ScimRequest
from tests.api.commands.office import Office, local
from tests.api.commands.staff import admin, do, newcomer, refused

pytestmark = pytest.mark.anyio


async def made(office: Office, **more: Any) -> tuple[dict[str, Any], Any]:
    return await new(office, "addScimToken", **{"name": "HR"} | more)


async def new(office: Office, mutation: str, **given: Any) -> tuple[dict[str, Any], Any]:
    """A token and its text, as a mutation answers them."""
    one, kind = admin(office), f"{mutation[0].upper()}{mutation[1:]}Input!"
    asked = "secret scimToken { id name scopes endsWithin } userErrors { code }"
    await office.ask(one, "{ viewer { me { id } } }")
    text = f"mutation($input: {kind}) {{ {mutation}(input: $input) {{ {asked} }} }}"
    answer = await office.ask(one, text, {"input": given})
    assert answer.outcome == "DONE", answer.body
    return answer.data["scimToken"], answer.data["secret"]


async def test_a_tokens_text_is_shown_once_and_kept_nowhere(office: Office) -> None:
    token, secret = await made(office, days=20, scopes=["users"], idempotencyKey="k" * 20)
    assert (token["name"], token["scopes"], token["endsWithin"]) == ("HR", ["users"], 30)
    assert secret.startswith("scim_")
    again, nothing = await made(office, days=20, scopes=["users"], idempotencyKey="k" * 20)
    assert (again["id"], nothing) == (token["id"], None)
    dump = office.query("select row_to_json(t)::text as row from scim_token t")
    assert not any(secret in row["row"] for row in dump)
    assert office.events()[-1]["action"] == "tenant:configure"


async def test_a_token_is_replaced_with_an_overlap_and_revoked(office: Office) -> None:
    one = admin(office)
    old, _ = await made(office)
    turned, secret = await new(office, "rotateScimToken", id=old["id"], overlapDays=5)
    assert secret.startswith("scim_")
    listed = (await office.ask(one, "{ scimTokens { nodes { id endsWithin } } }")).data["nodes"]
    warned = {node["id"]: node["endsWithin"] for node in listed}
    assert (warned[old["id"]], warned[turned["id"]]) == (7, None)
    for _ in range(2):
        gone = await do(office, one, "revokeScimToken", "endsWithin", id=old["id"])
    assert gone.data["scimToken"]["endsWithin"] == 0
    ended = await refused(office, one, "rotateScimToken", id=old["id"])
    assert ended.outcome == "NOT_FOUND"
    for more in (
        {"days": 731},
        {"days": 2**31 - 1},
        {"days": 0},
        {"scopes": ["all"]},
        {"name": " "},
    ):
        wrong = await refused(office, one, "addScimToken", **{"name": "HR"} | more)
        assert wrong.outcome == "INVALID", more


async def test_the_page_shows_what_failed_and_who_is_held(office: Office) -> None:
    one, nurse = admin(office), newcomer(office, "nurse@a")
    token, _ = await made(office)
    (row,) = office.query("select * from scim_token where id = %s", local(token["id"]))
    now = dt.datetime.now(dt.UTC)
    values = {"tenant_id": row["tenant_id"], "token_id": row["id"], "created_at": now}
    ok, bad = (
        ScimRequest(
            **values, id=new_id(), method="PATCH", asked="user", status=status, milliseconds=5,
            resource_id=nurse.id, cause=cause, outside_request_id="okta-1",
        )
        for status, cause in ((200, None), (400, "Held: more people than usual."))
    )  # fmt: skip
    office.here.save(ok, bad)
    key = {"tenant_id": nurse.tenant_id, "asked_at": now}
    office.here.save(ScimDeparture(**key, id=nurse.id, refused_at=now))
    page = f"""{{
      failed: scimRequests(failed: true, person: "Person:{nurse.id}") {{
        nodes {{ cause status resource directoryRequestId person {{ givenName }} token {{ name }} }} }}
      done: scimRequests(failed: false, person: "Person:{nurse.id}", first: 1) {{ nodes {{ cause }} totalCount }}
      held: scimDepartures(held: true) {{ nodes {{ person {{ id }} refusedAt }} }}
      gone: scimDepartures(held: false) {{ nodes {{ person {{ id }} }} }}
      scimSync {{ requests failures heldDepartures departuresADay releasedUntil }}
    }}"""
    told = (await office.ask(one, page)).body["data"]
    (failed,) = told["failed"]["nodes"]
    assert failed == {
        "cause": "Held: more people than usual.", "status": 400, "resource": "USER",
        "directoryRequestId": "okta-1", "person": {"givenName": nurse.given_name}, "token": {"name": "HR"},
    }  # fmt: skip
    assert told["done"] == {"nodes": [{"cause": None}], "totalCount": 1}
    assert [n["person"]["id"] for n in told["held"]["nodes"]] == [f"Person:{nurse.id}"]
    assert told["gone"]["nodes"] == []
    assert told["scimSync"]["heldDepartures"] == 1
    assert told["scimSync"]["releasedUntil"] is None
    for other in (nurse, newcomer(office, "clinic_admin@a")):
        nothing = (await office.ask(other, page)).body["data"]
        assert nothing["scimSync"] is None
        assert not any(
            (nothing[name] or {}).get("nodes") for name in ("failed", "done", "held", "gone")
        )
    freed = await do(office, one, "releaseScimDepartures", "until releasedBy { id }", hours=2)
    assert freed.data["scimRelease"]["releasedBy"]["id"] == f"Person:{one.id}"
    assert (await office.ask(one, page)).body["data"]["scimSync"]["releasedUntil"] is not None
    assert (await refused(office, one, "releaseScimDepartures", hours=169)).outcome == "INVALID"


async def limits(office: Office, who: Any, **given: Any) -> Any:
    await office.ask(who, "{ viewer { userName } }")
    told = "limits { few most percent version } userErrors { code path }"
    text = f"mutation($input: SetDepartureLimitsInput!) {{ setDepartureLimits(input: $input) {{ {told} }} }}"
    return await office.ask(who, text, {"input": given})


async def test_administrators_say_how_many_may_leave_in_a_day(office: Office) -> None:
    one = admin(office)
    names = "departuresADay departuresFew departuresMost departuresPercent version"
    ask = f"{{ scimSync {{ {names} }} }}"
    before = (await office.ask(one, ask)).data
    said = {name: before[f"departures{name.title()}"] for name in ("few", "most", "percent")}
    assert said == {"few": 10, "most": 200, "percent": 10}
    new = {"few": 20, "most": 40, "percent": 5}
    for held in ("clinic_admin@a", "regional_director@r", "privacy_officer@system"):
        answer = await limits(office, office.here.person(held), **new, version=before["version"])
        assert answer.outcome in ("FORBIDDEN", "NOT_FOUND"), held
    for wrong, path in (
        ({"few": 101, "most": 200}, "few"),
        ({"most": 19}, "most"),
        ({"percent": 51}, "percent"),
    ):
        answer = await limits(office, one, **new | wrong, version=before["version"])
        assert answer.outcome == "INVALID", wrong
        assert answer.body["data"]["setDepartureLimits"]["userErrors"][0]["path"] == [path]
    assert (await office.ask(one, ask)).data == before
    done = await limits(office, one, **new, version=before["version"])
    assert done.data["limits"] == new | {"version": before["version"] + 1}
    after = (await office.ask(one, ask)).data
    assert (after["departuresADay"], after["departuresPercent"]) == (20, 5)
    assert office.events()[-1]["action"] == "tenant:configure"
    assert (await limits(office, one, **new, version=before["version"])).outcome == "CONFLICT"


@pytest.mark.parametrize(
    "mutation", ["addScimToken", "rotateScimToken", "revokeScimToken", "releaseScimDepartures"]
)
async def test_only_system_administrators_do_any_of_it(office: Office, mutation: str) -> None:
    token, _ = await made(office)
    inputs: dict[str, dict[str, Any]] = {
        "addScimToken": {"name": "x"},
        "releaseScimDepartures": {"hours": 1},
    }
    given = inputs.get(mutation, {"id": token["id"]})
    for held in ("clinic_admin@a", "regional_director@r", "privacy_officer@system"):
        answer = await refused(office, office.here.person(held), mutation, **given)
        assert answer.outcome in ("FORBIDDEN", "NOT_FOUND"), (mutation, held)
