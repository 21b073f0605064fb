"""Keycloak follows of each person, whatever is lost on the way; what somebody changed there is found and mended."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.model import new_id
from domain.organization import MfaPolicy
from domain.people import Person
from domain.realms import PersonSync, RealmCheck
from domain.setup import SOURCE as SETUP
from identity.accounts import Accounts
from identity.grants import GrantDraft, give_grant
from identity.jobs import Resources, work_off
from identity.keycloak import Realm
from identity.provisioning import PersonDraft, create_person, deactivate_person
from identity.realm_checks import CheckUnderWay, ask_check, check_realm
from identity.realms import MARKER, SVC_IDENTITY
from identity.sync import cell_session
from identity.sync_states import state_of
from identity.tenants import MadeTenant
from tests.identity.conftest import KeycloakServer, World
from tests.identity.cutting import Cutting, cutting

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]


def agent(made: MadeTenant) -> Agent:
    return Agent(tenant_id=made.tenant_id, now=dt.datetime.now(dt.UTC))


async def people(world: World, made: MadeTenant, *names: str) -> list[UUID]:
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        drafts = [PersonDraft(n, n.title(), "Ñurse", f"{n}@clinic.example") for n in names]
        return [(await create_person(session, agent(made), d)).id for d in drafts]


async def stands(world: World, made: MadeTenant, person_id: UUID) -> tuple[str, str | None]:
    """The state of somebody's synchronization, and the cause of its last failure."""
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        row = await session.execute(
            select(state_of(Person, PersonSync), PersonSync.cause)
            .select_from(Person)
            .outerjoin(PersonSync, PersonSync.person_id == Person.id)
            .where(Person.tenant_id == made.tenant_id, Person.id == person_id)
        )
        state, cause = row.one()
        return state, cause


@asynccontextmanager
async def behind(
    world: World, owner: AsyncEngine, keycloak: KeycloakServer, made: MadeTenant
) -> AsyncIterator[tuple[Cutting, Any]]:
    """A proxy before Keycloak, and a function that lets a worker do behind it whatever waits, due or not."""
    move = text("update control.identity_cluster set url = :url where name = 'test'")
    platform = world.platform
    async with cutting(keycloak.url) as proxy:
        async with owner.begin() as connection:
            await connection.execute(move, {"url": proxy.url})
        accounts = Accounts(platform.control, platform.sealer, keycloak.account)

        async def work() -> None:
            async with owner.begin() as connection:
                await connection.execute(text("update procrastinate_jobs set scheduled_at = now()"))
            await work_off(world.worker_url, Resources(platform.cell, accounts, platform.keys))

        yield proxy, work
        await accounts.close()
    async with owner.begin() as connection:
        await connection.execute(move, {"url": keycloak.url})


async def test_what_is_lost_on_the_way_arrives(
    world: World, owner_engine: AsyncEngine, keycloak: KeycloakServer
) -> None:
    """The answer to a POST is lost, then Keycloak is away as somebody leaves: neither two users nor a lost leaver."""
    made = await world.tenant()
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    (nora,) = await people(world, made, "nora")
    assert await stands(world, made, nora) == ("pending", None)
    async with behind(world, owner_engine, keycloak, made) as (proxy, work):
        proxy.lose = ("POST", "/users")
        await work()
        assert proxy.lost == 1, "sent once: a POST is not repeated unseen"
        assert await stands(world, made, nora) == ("pending", "UNAVAILABLE")
        there = await realm.find_user("nora")
        assert there is not None, "made all the same"
        proxy.lose = None
        await work()
        assert await stands(world, made, nora) == ("synced", None)
        proxy.lose = ("PUT", f"/users/{there['id']}")
        async with cell_session(world.platform.cell, made.tenant_id) as session:
            await deactivate_person(session, agent(made), nora)
        proxy.down = True
        await work()
        assert await stands(world, made, nora) == ("pending", "UNAVAILABLE")
        found = await realm.find_user("nora")
        assert found is not None
        assert found["enabled"]
        proxy.down = False
        await work()
        assert proxy.lost > 1, "here a repeat changes nothing, and its answers were lost too"
        proxy.lose = None
        await work()
        assert await stands(world, made, nora) == ("synced", None)
    found = await realm.find_user("nora")
    assert found is not None
    assert (found["id"], found["enabled"]) == (there["id"], False)
    names = [u["username"] for u in await realm.get("users", max="100")]
    assert sorted(names) == ["admin", "nora", "officer"]


async def test_what_nothing_can_mend_is_failed_until_somebody_asks_again(
    world: World, owner_engine: AsyncEngine, keycloak: KeycloakServer
) -> None:
    made = await world.tenant()
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    other = await realm.create_user({"username": "nora", "enabled": True})
    (nora,) = await people(world, made, "nora")
    async with behind(world, owner_engine, keycloak, made) as (_, work):
        for state in ("pending", "pending", "pending", "failed"):
            await work()
            assert await stands(world, made, nora) == (state, "USER_TAKEN")
        await realm.delete_user(other)
        # The comparison of the night finds that she has no user, and tries again.
        check = await check_realm(world.platform.cell, realm, made.tenant_id, pause=0)
        assert check is not None
        assert check.findings == [f"MISSING person {nora}"]
        await work()
        assert await stands(world, made, nora) == ("synced", None)


def of_a_link(tenant_id: UUID) -> Person:
    """Whom the holder of a setup link acts as: nobody in the realm."""
    names = {"user_name": "setup-1", "given_name": "Setup", "family_name": "Link"}
    return Person(tenant_id=tenant_id, id=new_id(), source=SETUP, **names)


async def drifted(realm: Realm, made: MadeTenant, names: dict[str, UUID]) -> dict[str, str]:
    """Changes by hand in Keycloak's console; answers the users that are not ours to mend."""
    users = {name: await realm.find_user(name) or {} for name in (*names, "admin")}
    await realm.update_user({**users["ada"], "firstName": "Else", "email": "x@y.example"})
    await realm.update_user({**users["bea"], "enabled": False})
    await realm.update_user({**users["cyd"], "enabled": True})
    await realm.delete_user(users["dee"]["id"])
    await realm.update_user({**users["eve"], "attributes": {}})
    await realm.take_role(users["admin"]["id"], await realm.role(MARKER))
    await realm.give_role(users["fay"]["id"], await realm.role(MARKER))
    claims = {"attributes": {"person_id": [str(names["ada"])]}}
    return {
        "STRANGER": await realm.create_user({"username": "stranger", "enabled": True}),
        "SECOND_USER": await realm.create_user({"username": "ada2", "enabled": True, **claims}),
    }


async def test_what_differs_is_found_both_ways_and_what_is_ours_is_mended(world: World) -> None:
    made = await world.tenant(MfaPolicy.ADMINS)
    cell, tenant_id = world.platform.cell, made.tenant_id
    listed = ("ada", "bea", "cyd", "dee", "eve", "fay")
    names = dict(zip(listed, await people(world, made, *listed), strict=True))
    async with cell_session(cell, tenant_id) as session:
        draft = GrantDraft(names["bea"], "clinic_admin", made.root_unit_id)
        await give_grant(session, agent(made), draft)
    await world.work()
    async with cell_session(cell, tenant_id) as session:
        await deactivate_person(session, agent(made), names["cyd"])
        session.add(of_a_link(tenant_id))
    await world.work()
    realm = await world.platform.accounts.realm(tenant_id, SVC_IDENTITY)
    same = await check_realm(cell, realm, tenant_id, page=3, pause=0)
    assert same is not None
    assert (same.findings, same.repaired, same.users, same.people) == ([], 0, 8, 8)
    left = await drifted(realm, made, names)
    check = await check_realm(cell, realm, tenant_id, page=3, pause=0)
    assert check is not None
    told = {kind.value: n for kind, n in check.counts.items()}
    assert told == {
        **dict.fromkeys(("MISSING", "DIFFERS", "LET_IN", "SHUT_OUT", "UNLINKED"), 1),
        **{"SECOND_FACTOR": 2, "STRANGER": 1, "SECOND_USER": 1},
    }
    assert check.repaired == 7
    assert await stands(world, made, names["ada"]) == ("pending", None)
    await world.work()
    assert await stands(world, made, names["ada"]) == ("synced", None)
    again = await check_realm(cell, realm, tenant_id, page=3, pause=0)
    assert again is not None
    assert again.repaired == 0
    assert sorted(again.findings) == [
        f"SECOND_USER person {names['ada']} user {left['SECOND_USER']}",
        f"STRANGER user {left['STRANGER']}",
    ]
    async with cell_session(cell, tenant_id) as session:
        kept = (await session.scalars(select(RealmCheck).order_by(RealmCheck.started_at))).all()
    assert [row.repaired for row in kept] == [0, 7, 0]
    assert kept[1].findings[0] == "DIFFERS 1"
    # The same again, as a job that an administrator asked for, once at a time.
    async with cell_session(cell, tenant_id) as session:
        asked = await ask_check(session, agent(made))
        with pytest.raises(CheckUnderWay):
            await ask_check(session, agent(made))
    await world.work()
    async with cell_session(cell, tenant_id) as session:
        report = await session.get_one(RealmCheck, (tenant_id, asked))
        assert report.finished_at is not None
        assert report.findings == ["SECOND_USER 1", "STRANGER 1", *again.findings]
        await ask_check(session, agent(made))
    bea = await realm.find_user("bea")
    cyd = await realm.find_user("cyd")
    assert (bea or {})["enabled"]
    assert not (cyd or {})["enabled"]
