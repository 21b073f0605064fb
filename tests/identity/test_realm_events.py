"""Who is cut off inside Keycloak is out here, whatever Keycloak announces: each way, after a restart, after an outage."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

import httpx
import psycopg
import pytest
from sqlalchemy import func, select

from authz.actor import Actor
from domain.audit import AuditEvent
from domain.people import Person
from identity.announced_keys import announced
from identity.errors import NotAdmitted, TokenRefused
from identity.keycloak import Account, Keycloak, Realm
from identity.keycloak_failures import Denied, NotFound, Unavailable
from identity.keys import HEARD, KeyCache
from identity.realm_events import OF_ADMINISTRATORS, Reader, of_administrator
from identity.realms import SVC_IDENTITY
from identity.sync import cell_session
from identity.tenants import MadeTenant
from identity.tokens import Tokens
from identity.watching import LOCK, watch, watch_alone
from tests import web
from tests.identity.browser import Browser, next_second
from tests.identity.conftest import CALLBACK, PASSWORD, World
from tests.identity.test_logins import hire

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]

NEW = "quite another battery staple"


@dataclass
class Somebody:
    """Who is in: the tokens, the actor, and the user's id in the realm."""

    world: World
    made: MadeTenant
    name: str
    tokens: dict[str, Any]
    actor: Actor
    subject: str

    async def stands(self) -> bool:
        return await self.world.stands(self.actor)

    async def is_refused(self) -> bool:
        try:
            await self.world.loader.actor(self.tokens["access_token"], fresh=True)
        except NotAdmitted:
            return True
        return False

    async def active(self) -> bool:
        async with cell_session(self.world.platform.cell, self.made.tenant_id) as session:
            found = select(Person.active).where(Person.id == self.actor.person_id)
            return bool(await session.scalar(found))


async def come(world: World, made: MadeTenant, name: str) -> Somebody:
    """Log in as somebody who is there."""
    async with Browser(made.issuer, CALLBACK) as browser:
        tokens = await browser.login(name, PASSWORD)
    actor = await world.loader.actor(tokens["access_token"])
    realm = await world.master(made)
    user = await realm.find_user(name)
    assert user
    return Somebody(world, made, name, tokens, actor, user["id"])


async def enable(world: World, who: Somebody, enabled: bool) -> None:
    """What an administrator does in Keycloak's console."""
    realm = await world.master(who.made)
    await realm.update_user({**await realm.user(who.subject), "enabled": enabled})


async def identity(world: World, made: MadeTenant) -> Realm:
    return await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)


def reads(world: World, made: MadeTenant, **how: Any) -> Reader:
    return Reader(world.platform.cell, made.tenant_id, partial(world.master, made), **how)


async def audited(world: World, made: MadeTenant) -> int:
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        return int(await session.scalar(select(func.count()).select_from(AuditEvent)) or 0)


async def test_each_way_of_cutting_somebody_off_in_keycloak(world: World) -> None:
    made = await world.tenant()
    console, ours = await world.master(made), await identity(world, made)
    people = {}
    names = ("session", "logout", "password", "disabled", "deleted", "own", "stays")
    for name in names:
        await hire(world, made, name)
        people[name] = await come(world, made, name)
    reader, known = reads(world, made), await audited(world, made)
    await reader.look(ours)
    assert await audited(world, made) == known, "what we did there ourselves is none of it"
    (session,) = await console.sessions(people["session"].subject)
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "session": lambda: console.end_session(session["id"]),
        "logout": lambda: console.end_sessions(people["logout"].subject),
        "password": lambda: console.set_password(people["password"].subject, NEW, temporary=True),
        "disabled": lambda: enable(world, people["disabled"], False),
        "deleted": lambda: console.delete_user(people["deleted"].subject),
        "own": lambda: log_out(made, people["own"]),
    }
    for name, way in ways.items():
        await way()
        assert await people[name].stands(), "nobody announces anything here"
    assert await reader.look(ours) == len(ways)
    for name, somebody in people.items():
        assert await somebody.stands() == (name == "stays"), name
        assert await somebody.is_refused() == (name != "stays"), name
        assert await somebody.active() == (name not in ("disabled", "deleted")), name
    # The same again, also by a worker that knows nothing, ends and writes nothing more.
    known = await audited(world, made)
    assert await reader.look(ours) == 0
    await reads(world, made).look(ours)
    assert await audited(world, made) == known
    await world.work()
    # Keycloak itself ends nothing by a new password: we did.
    async with Browser(made.issuer, CALLBACK) as browser:
        again = await browser.refresh(people["password"].tokens["refresh_token"])
        assert again.is_client_error
    # Whom the cell shuts out nobody lets in there for long.
    await enable(world, people["disabled"], True)
    assert await reader.look(ours) == 1
    await world.work()
    assert (await console.user(people["disabled"].subject))["enabled"] is False


async def log_out(made: MadeTenant, who: Somebody) -> None:
    form = {"client_id": "portal", "refresh_token": who.tokens["refresh_token"]}
    async with web.client() as http:
        answer = await http.post(f"{made.issuer}/protocol/openid-connect/logout", data=form)
    assert answer.status_code == httpx.codes.NO_CONTENT


async def test_everybody_and_the_last_administrator(world: World) -> None:
    made = await world.tenant()
    console, ours = await world.master(made), await identity(world, made)
    reader = reads(world, made)
    admin, officer = await come(world, made, "admin"), await come(world, made, "officer")
    await enable(world, admin, False)
    await reader.look(ours)
    assert not await admin.stands()
    assert await admin.active(), "somebody is left who may administer"
    assert await officer.stands()
    await console.end_all_sessions()
    await reader.look(ours)
    assert not await officer.stands()
    assert await officer.is_refused()
    await next_second()
    officer = await come(world, made, "officer")
    await reader.look(ours)
    assert await officer.stands(), "what was read again ends nothing that came later"
    await next_second()
    await console.update({"notBefore": int(time.time())})
    await reader.look(ours)
    assert not await officer.stands()


async def test_a_portal_or_the_realm_is_closed_in_keycloak(world: World) -> None:
    """Whose tokens can be renewed there no more loses access here; whoever may come again comes again."""
    made = await world.tenant()
    console, ours = await world.master(made), await identity(world, made)
    reader = reads(world, made)
    await reader.look(ours)
    officer = await come(world, made, "officer")
    clients = {client["clientId"]: client for client in await console.clients()}
    portal, other = clients["portal"], clients["svc-policy"]
    await console.update_client({**other, "enabled": False})
    await console.update_client({**portal, "description": "changed"})
    assert await reader.look(ours, whole=False) == 2
    assert await officer.stands(), "nobody comes by these, or by what was changed"
    await console.update_client({**other, "enabled": True})
    await console.update_client({**portal, "enabled": False})
    await reader.look(ours, whole=False)
    assert not await officer.stands()
    assert await officer.is_refused()
    await console.update_client({**portal, "enabled": True})
    await next_second()
    await reader.look(ours)
    assert await (await renewed(officer)).stands(), (
        "what was read again ends nothing that came later"
    )
    officer = await come(world, made, "officer")
    known = await audited(world, made)
    await console.update({"enabled": False})
    # The token that our account has is good for some minutes still; a worker that starts has none.
    await reader.look(ours, whole=False)
    assert not await officer.stands()
    assert await audited(world, made) == known + 1
    later = reads(world, made)
    async with Keycloak(world.url(made)) as another:
        strange = await another.realm(made.realm, ours.account)
        with pytest.raises(Denied):
            await strange.read()
        assert await later.look(strange) > 0
        assert await audited(world, made) == known + 1, "it knows when that was"
        await console.update({"enabled": True})
        await next_second()
        assert await later.look(strange) == 1
    officer = await renewed(officer)
    assert await officer.stands()
    await console.remove(f"clients/{portal['id']}")
    await reader.look(ours, whole=False)
    assert not await officer.stands()


async def test_a_rotation_reaches_processes_whose_fetches_were_used_up(world: World) -> None:
    made = await world.tenant()
    console, ours, reader = (
        await world.master(made),
        await identity(world, made),
        reads(world, made),
    )
    await reader.look(ours)
    told = partial(announced, world.registry, world.cell)
    async with web.client() as http:
        keys = KeyCache(http, announced=told)
        tokens = Tokens(world.registry, keys)
        before = await come(world, made, "officer")
        assert await tokens.verify(before.tokens["access_token"])
        url = (await world.registry.issuer(made.issuer) or fail()).keys_url
        assert await told(url) is None
        for n in range(4):  # somebody invents ids
            assert await keys.key(url, f"invented-{n}") is None
        config = {"priority": ["200"], "ecdsaEllipticCurveKey": ["P-256"]}
        key = {"name": "next", "providerId": "ecdsa-generated", "config": config}
        kind = {"providerType": "org.keycloak.keys.KeyProvider"}
        await console.post("components", {**key, **kind})
        after = await renewed(before)  # by a process that may ask
        token = after.tokens["access_token"]
        await asyncio.sleep(HEARD)
        with pytest.raises(TokenRefused):
            await tokens.verify(token)
        assert await reader.look(ours) == 1
        await asyncio.sleep(HEARD)
        assert await tokens.verify(token)
        # Old ones are good still: both keys were told.
        assert await Tokens(world.registry, keys).verify(before.tokens["access_token"])
    assert await told("http://127.0.0.1:9/certs") is None


def fail() -> NoReturn:
    raise AssertionError


async def test_a_realm_that_is_gone_lets_nobody_in(world: World) -> None:
    made = await world.tenant()
    console, ours = await world.master(made), await identity(world, made)
    officer, reader = await come(world, made, "officer"), reads(world, made)
    await console.delete()
    for _ in range(2):
        with pytest.raises(NotFound):
            await reader.look(ours)
        assert not await officer.stands()
    assert await officer.is_refused()
    record = await audited(world, made)
    with pytest.raises(NotFound):
        await reader.look(ours)
    assert await audited(world, made) == record, "once"


async def renewed(who: Somebody) -> Somebody:
    """The same person, by a new token of the same session."""
    async with Browser(who.made.issuer, CALLBACK) as browser:
        answer = await browser.refresh(who.tokens["refresh_token"])
        assert answer.is_success, answer.text
        tokens = answer.json()
    actor = await who.world.loader.actor(tokens["access_token"], fresh=True)
    return replace(who, tokens=tokens, actor=actor)


async def test_nothing_is_missed_by_a_restart_or_an_outage(world: World) -> None:
    made = await world.tenant()
    ours = await identity(world, made)
    who = await come(world, made, "officer")
    ahead = 0.0

    def clock() -> float:
        return time.time() + ahead

    await reads(world, made, clock=lambda: time.time() - 90).look(ours)
    ahead = 3600
    # A day later, as it were: without what was written down it would begin at the last two minutes.
    await enable(world, who, False)
    away = Realm("http://127.0.0.1:9", made.realm, Account("svc", "none"))
    reader = reads(world, made, clock=clock)
    with pytest.raises(Unavailable):
        await reader.look(away)
    await away.close()
    assert await who.stands()
    assert await reader.look(ours) >= 1
    assert not await who.stands()


async def test_a_log_is_read_whole_in_pages(world: World) -> None:
    made = await world.tenant()
    console, ours = await world.master(made), await identity(world, made)
    since = int((datetime.now(UTC).timestamp() - 60) * 1000)
    for _ in range(5):
        await console.end_all_sessions()
    paged = [e async for e in ours.events("admin-events", since, 2, OF_ADMINISTRATORS)]
    whole = [e async for e in ours.events("admin-events", since, 100, OF_ADMINISTRATORS)]
    assert [e["id"] for e in paged] == [e["id"] for e in whole]
    assert len(whole) >= 5
    assert [e["time"] for e in whole] == sorted(e["time"] for e in whole)
    assert sum(of_administrator(e) is not None for e in whole) >= 5


async def until(holds: Callable[[], Awaitable[bool]], within: float = 30) -> None:
    async with asyncio.timeout(within):
        while not await holds():  # noqa: ASYNC110  # somebody else does it
            await asyncio.sleep(0.05)


async def test_realms_are_watched_by_one_worker(world: World) -> None:
    made = await world.tenant()
    who = await come(world, made, "officer")
    watching = asyncio.create_task(watch(world.platform.cell, world.platform.accounts, each=0.1))
    await enable(world, who, False)

    async def out() -> bool:
        return not await who.stands()

    await until(out)
    watching.cancel()
    await asyncio.wait({watching})
    alone = asyncio.create_task(
        watch_alone(world.worker_url, world.platform.cell, world.platform.accounts)
    )
    async with await psycopg.AsyncConnection.connect(world.worker_url, autocommit=True) as other:

        async def taken() -> bool:
            asked = "select pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
            row = await (await other.execute(asked, [LOCK])).fetchone()
            return row == (False,)

        await until(taken)
        alone.cancel()
        await asyncio.wait({alone})

        async def free() -> bool:
            return not await taken()

        await until(free)
