"""Realms that older templates made become what the present one makes, whatever happens on the way."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from domain.control import IdentityCluster
from domain.organization import MfaPolicy
from identity import realms
from identity.drift import VERSION, StillDiffers, drift, repair
from identity.flow_trees import MASK, alike, tree
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Unavailable
from identity.lifecycle import suspend_tenant
from identity.operators import ensure_realm
from identity.realms import TEMPLATE, TEMPLATE_VERSION, representation, template
from identity.upgrades import OPERATORS, drift_of, repair_of, upgrade_realms
from tests.database import Database, scratch
from tests.identity.browser import Browser
from tests.identity.conftest import CALLBACK, PASSWORD, KeycloakServer, World, drop_realm

NOBODY = "http://127.0.0.1:1"
BEFORE = TEMPLATE.parent / "before"
pytestmark = [pytest.mark.anyio]


@pytest.fixture(scope="module")
def database(admin_url: str, template: str, worker_id: str) -> Iterator[Database]:
    """A registry of its own: every realm is visited, and other tests register hundreds that no server has."""
    with scratch(admin_url, f"{worker_id}_upgrades", template) as copy:
        yield copy


def older(version: int) -> Json:
    """The template of a version that realms may still be of."""
    read: Json = json.loads((BEFORE / f"{version}.json").read_text())
    return read


def weaker(of: Json) -> Json:
    """As the template, with one factor less in its browser flow: what a later template would take back."""
    made = copy.deepcopy(of)
    flow = next(f for f in made["authenticationFlows"] if f["alias"] == "browser-mfa policy")
    flow["authenticationExecutions"] = flow["authenticationExecutions"][:3]
    made["authenticationFlows"] = [
        f for f in made["authenticationFlows"] if f["alias"] != "browser-mfa policy enrol"
    ]
    used = {
        part.get("authenticatorConfig")
        for f in made["authenticationFlows"]
        for part in f["authenticationExecutions"]
    }
    made["authenticatorConfig"] = [c for c in made["authenticatorConfig"] if c["alias"] in used]
    return made


class Cut(Realm):
    """A realm whose connection breaks after so many changes, as a killed process leaves it."""

    left = 0

    async def _raw(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        if method != "get" and "partial-export" not in path:
            if self.left <= 0:
                raise Unavailable("cut", None)
            self.left -= 1
        return await super()._raw(method, path, body, **query)


def test_each_version_that_realms_may_have_is_kept() -> None:
    kept = sorted(int(path.stem) for path in BEFORE.glob("*.json"))
    assert kept == list(range(1, TEMPLATE_VERSION))


@pytest.mark.keycloak
async def test_realms_of_every_version_become_the_present_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for version in range(1, TEMPLATE_VERSION):
        with monkeypatch.context() as patch:
            patch.setattr(realms, "template", lambda version=version: older(version))
            patch.setattr(realms, "TEMPLATE_VERSION", version)
            made[version] = await world.tenant(MfaPolicy.ALL)
    suspended = await world.tenant()
    await suspend_tenant(world.platform, suspended.slug)
    mine = {one.slug for one in world.made}
    look = {r.slug: r for r in await upgrade_realms(world.platform, mend=False)}
    assert all(look[m.slug].before == str(version) for version, m in made.items())
    assert all(look[m.slug].found and not look[m.slug].mended for m in made.values())
    assert look[suspended.slug].found == ()
    seen: list[str] = []
    reports = {r.slug: r for r in await upgrade_realms(world.platform, progress=seen.append)}
    assert mine <= set(seen) == reports.keys()
    assert {slug: reports[slug].failure for slug in mine} == dict.fromkeys(mine)
    assert all(reports[slug].mended for slug in mine)
    for one in made.values():
        assert set(reports[one.slug].found) == set(look[one.slug].found)
        realm, plan = await world.master(one), await world.plan(one, MfaPolicy.ALL)
        assert await drift(realm, plan) == []
        assert (await realm.read())["attributes"][VERSION] == str(TEMPLATE_VERSION)
    assert (await (await world.master(suspended)).read())["enabled"] is False


@pytest.mark.keycloak
async def test_cut_off_anywhere_logins_go_by_a_whole_flow_and_the_next_run_finishes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        first = weaker(template())
        patch.setattr(realms, "template", lambda: first)
        made = await world.tenant()
        plan = await world.plan(made)
        old = tree(representation(plan), "browser-mfa")
    new = tree(representation(plan), "browser-mfa")
    cut = Cut(world.url(made), made.realm, (await world.master(made)).account)
    for attempt in range(1, 30):
        cut.left = 30 * attempt
        try:
            await repair(cut, plan)
        except Unavailable:
            export = await cut.export()
            bound = tree(export, export["browserFlow"])
            assert alike(_plain(old), _plain(bound)) or alike(_plain(new), _plain(bound))
        else:
            assert attempt > 3
            break
    await cut.close()
    assert await drift(await world.master(made), plan) == []
    async with Browser(made.issuer, CALLBACK) as admin:
        assert await admin.login("admin", PASSWORD)


def _plain(parts: Any) -> Any:
    """A tree without the mark of a flow that stands in for another, and without masked settings."""
    if isinstance(parts, str):
        return parts.removesuffix(" next")
    if isinstance(parts, dict):
        return {
            k: _plain(v) for k, v in parts.items() if "default.reference" not in k and v != MASK
        }
    return [_plain(part) for part in parts] if isinstance(parts, list) else parts


@pytest.mark.keycloak
async def test_what_cannot_be_mended_is_told_and_keeps_nobody_waiting(world: World) -> None:
    broken, sound = await world.tenant(), await world.tenant()
    realm = await world.master(broken)
    attributes = (await realm.read())["attributes"]
    await realm.update({"attributes": {**attributes, "tenant_id": str(sound.tenant_id)}})
    await (await world.master(sound)).update({"rememberMe": True})
    reports = {r.slug: r for r in await upgrade_realms(world.platform)}
    assert reports[broken.slug].failure == (
        "The realm belongs to another health system; nothing was changed."
    )
    assert reports[sound.slug].found == ("The realm's rememberMe differs.",)
    assert (await repair_of(world.platform, sound.slug)).found == ()
    assert str(StillDiffers(["One."])) == "The realm still differs: One."


@pytest.mark.keycloak
async def test_the_operators_realm_is_visited_too(world: World, keycloak: KeycloakServer) -> None:
    entry = await ensure_realm(world.platform, region="test")
    try:
        realm = await world.platform.accounts.as_master(keycloak.url, entry.realm)
        assert await drift_of(world.platform, OPERATORS) == []
        await realm.update({"bruteForceProtected": False})
        reports = await upgrade_realms(world.platform)
        assert (reports[0].slug, reports[0].mended) == (OPERATORS, True)
        assert reports[0].found == ("The realm's bruteForceProtected differs.",)
        assert (await repair_of(world.platform, OPERATORS)).found == ()
    finally:
        await drop_realm(world.platform, keycloak.url, entry.realm)


@pytest.mark.keycloak
async def test_a_server_that_does_not_answer_is_asked_for_two_realms(world: World) -> None:
    """Each takes seconds of trying again; a platform has hundreds."""
    made = [await world.tenant() for _ in range(3)]
    cluster = update(IdentityCluster).where(IdentityCluster.url == world.url(made[0]))
    async with world.platform.control.begin() as connection:
        await connection.execute(cluster.values(url=NOBODY))
    try:
        reports = await upgrade_realms(world.platform)
    finally:
        back = update(IdentityCluster).where(IdentityCluster.url == NOBODY)
        async with world.platform.control.begin() as connection:
            await connection.execute(back.values(url=world.url(made[0])))
    assert not any(report.mended for report in reports)
    unanswered = {r.slug: r.failure for r in reports if r.failure and "by nothing" in r.failure}
    assert {one.slug for one in made} <= unanswered.keys()
    tried, passed_over = list(unanswered.values())[:2], list(unanswered.values())[2:]
    assert set(tried) == {"Keycloak: read realm was answered by nothing."}
    told = "Keycloak: what was asked for realms before this one was answered by nothing."
    assert set(passed_over) == {told}
