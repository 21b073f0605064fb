"""Who a token stands for, and how soon it stops doing so: with the next request."""

import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Executable, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from authz.actor import Actor
from domain.audit import Agent
from domain.control import IdentityCluster, TenantEntry
from domain.database import engine
from domain.errors import Invalid
from domain.organization import MfaPolicy, OrgUnit, Tenant
from domain.people import Person, RevokedSession, RoleGrant
from domain.pipeline import Pipeline
from identity.actors import ActorLoader, stamp
from identity.errors import MfaRequired, NotAdmitted, Refusal, TokenRefused, Unauthenticated
from identity.keys import KeyCache
from identity.lifecycle import set_session_limits
from identity.registry import Registry
from identity.sync import cell_session
from identity.tokens import LEEWAY, Tokens
from tests import make, web
from tests.database import Database
from tests.identity.forge import Authority, KeyServer, served

pytestmark = pytest.mark.anyio


def now() -> int:
    return int(time.time())


@dataclass
class Ahead:
    """The real clock, put forward by some seconds."""

    ahead: float = 0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class House:
    """A health system with a nurse at a clinic, as her requests meet it. Its issuer is one of ours."""

    database: Database
    pipeline: Pipeline
    loader: ActorLoader
    authority: Authority
    tree: make.Tree
    nurse: Person
    owner: AsyncEngine
    clock: Ahead

    def token(self, **claims: object) -> str:
        subject = self.nurse.subject
        return self.authority.token(None, **({"sub": subject} | claims))

    async def stands(self, actor: Actor) -> bool:
        """Whether the actor's stamp finds its row, in a unit as reads have it."""
        rows = await self.pipeline.unit((("app.tenant", str(actor.tenant_id)),), stamp(actor))
        return bool(rows[0])

    async def execute(self, *statements: Executable) -> None:
        async with self.owner.begin() as connection:
            for statement in statements:
                await connection.execute(statement)

    async def touch_nurse(self, **values: object) -> None:
        """A change as commands make it: the version rises."""
        await self.execute(
            update(Person)
            .where(Person.tenant_id == self.nurse.tenant_id, Person.id == self.nurse.id)
            .values(version=Person.version + 1, **values)
        )

    async def touch_tenant(self, **values: object) -> None:
        await self.execute(
            update(Tenant)
            .where(Tenant.tenant_id == self.nurse.tenant_id)
            .values(version=Tenant.version + 1, **values)
        )


@asynccontextmanager
async def opened(database: Database, keys: KeyServer) -> AsyncIterator[House]:
    tree = make.tree()
    nurse = make.person(tree.tenant, subject=str(uuid4()))
    clinic = tree.clinics[0]
    grant = make.grant(nurse, "nurse", clinic)
    make.save(database, *tree.rows, nurse, grant)
    realm = f"o{uuid4().hex[:14]}"
    cluster = uuid4()
    base = keys.url.removesuffix("/certs")
    authority = Authority(issuer=f"{base}/realms/{realm}", tenant_id=tree.tenant.tenant_id, now=now)
    keys.body = authority.key_set()
    owner = engine(database.owner_url, application="test-owner", size=1)
    async with owner.begin() as connection:
        await _register(connection, cluster, base, authority, realm)
    pipeline = Pipeline(database.app_url, size=1)
    await pipeline.start()
    registry_engine = engine(database.app_url, application="test-registry", size=1)
    async with web.client() as http:
        clock = Ahead()
        tokens = Tokens(Registry(registry_engine), KeyCache(http), clock=clock)
        loader = ActorLoader(tokens, pipeline, clock=clock)
        yield House(database, pipeline, loader, authority, tree, nurse, owner, clock)
    await pipeline.stop()
    await registry_engine.dispose()
    await owner.dispose()


async def _register(
    connection: AsyncConnection, cluster: UUID, base: str, authority: Authority, realm: str
) -> None:
    await connection.execute(
        insert(IdentityCluster).values(
            id=cluster, name=str(cluster), region="nowhere", url=base, public_url=base
        )
    )
    await connection.execute(
        insert(TenantEntry).values(
            id=authority.tenant_id,
            slug=f"s{cluster.hex[:12]}",
            cell="main",
            region="nowhere",
            identity_cluster_id=cluster,
            realm=realm,
            issuer=authority.issuer,
            state="active",
        )
    )


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with served() as keys, opened(database, keys) as house:
        yield house


async def test_a_token_stands_for_a_person_with_their_grants(house: House) -> None:
    actor = await house.loader.actor(house.token(amr=["pwd", "otp"]))
    assert actor.person_id == house.nurse.id
    assert actor.tenant_id == house.nurse.tenant_id
    assert actor.user_name == house.nurse.user_name
    assert [grant.role for grant in actor.grants] == ["nurse"]
    assert set(actor.tree.units) == {u.id for u in house.tree.rows if isinstance(u, OrgUnit)}
    assert actor.may("patient", "read")
    assert not actor.may("patient", "create")
    assert actor.session.sid == "session-1"
    assert actor.session.mfa
    assert await house.stands(actor)


async def test_an_actor_is_kept_until_the_token_ends(house: House) -> None:
    bearer = house.token()
    actor = await house.loader.actor(bearer)
    assert await house.loader.actor(bearer) is actor
    assert await house.loader.actor(bearer, fresh=True) is not actor


async def test_a_renewed_token_reads_nothing_of_the_person_again(house: House) -> None:
    first = await house.loader.actor(house.token())
    second = await house.loader.actor(house.token(jti="2", sid="session-2"))
    assert second.tree is first.tree
    assert second.grants == first.grants
    assert second.session.sid == "session-2"


async def test_a_practitioner_is_known_as_one(house: House) -> None:
    doctor = make.practitioner(house.tree.tenant, house.nurse)
    make.save(house.database, doctor)
    actor = await house.loader.actor(house.token())
    assert actor.practitioner_id == doctor.id


async def inactive(house: House) -> None:
    await house.touch_nurse(active=False)


async def suspended(house: House) -> None:
    await house.touch_tenant(state="suspended")


async def session_revoked(house: House) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    await house.execute(
        insert(RevokedSession).values(tenant_id=house.nurse.tenant_id, sid="session-1", until=later)
    )


async def tokens_cut(house: House) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    await house.touch_nurse(tokens_valid_from=later)


async def unlinked(house: House) -> None:
    await house.touch_nurse(subject=None)


@pytest.mark.parametrize("cut", [inactive, suspended, session_revoked, tokens_cut, unlinked])
async def test_access_ends_with_the_next_request(
    house: House, cut: Callable[[House], Awaitable[None]]
) -> None:
    bearer = house.token()
    actor = await house.loader.actor(bearer)
    other = await house.loader.actor(house.token(sid="session-2", iat=now() + 20))
    assert await house.stands(actor)
    assert await house.loader.fallen([other, actor]) == []
    await cut(house)
    # Asked about many at once it says the same of each as its stamp does.
    standing = [await house.stands(one) for one in (other, actor)]
    expected = [at for at, stands in enumerate(standing) if not stands]
    assert 1 in expected
    assert sorted(await house.loader.fallen([other, actor])) == expected
    # What is in memory still says yes; the stamp, in the very unit of the data, says no.
    assert await house.loader.actor(bearer) is actor
    assert not await house.stands(actor)
    with pytest.raises(NotAdmitted) as refused:
        await house.loader.actor(bearer, fresh=True)
    assert refused.value.reason is Refusal.NOT_ADMITTED
    with pytest.raises(NotAdmitted):
        await house.loader.actor(bearer)


async def test_a_login_ends_when_it_has_lasted_long_enough(
    house: House, platform_engine: AsyncEngine
) -> None:
    begun = now() - 500
    bearer = house.token(auth_time=begun)
    actor = await house.loader.actor(bearer)
    agent = Agent(tenant_id=house.nurse.tenant_id, now=dt.datetime.now(dt.UTC))
    async with cell_session(platform_engine, agent.tenant_id) as session:
        await set_session_limits(session, agent, 300, 600)
    assert not await house.stands(actor)
    again = await house.loader.actor(bearer, fresh=True)
    assert again.valid_until == dt.datetime.fromtimestamp(begun + 600 + LEEWAY, dt.UTC)
    with pytest.raises(NotAdmitted):
        await house.loader.actor(house.token(auth_time=begun - 200))
    house.clock.ahead = 131
    with pytest.raises(NotAdmitted):
        await house.loader.actor(bearer)
    assert await house.loader.actor(house.token(auth_time=now(), jti="2")), "a new login is let in"


@pytest.mark.parametrize(("idle", "longest"), [(59, 600), (601, 600), (600, 86_401)])
async def test_limits_that_no_login_can_have(
    house: House, app_engine: AsyncEngine, idle: int, longest: int
) -> None:
    agent = Agent(tenant_id=house.nurse.tenant_id, now=dt.datetime.now(dt.UTC))
    with pytest.raises(Invalid):
        async with cell_session(app_engine, agent.tenant_id) as session:
            await set_session_limits(session, agent, idle, longest)


async def test_a_changed_grant_counts_with_the_next_request(house: House) -> None:
    bearer = house.token()
    actor = await house.loader.actor(bearer)
    await house.execute(
        update(RoleGrant)
        .where(RoleGrant.tenant_id == house.nurse.tenant_id)
        .values(valid_until=dt.datetime.now(dt.UTC))
    )
    await house.touch_nurse()
    assert not await house.stands(actor)
    again = await house.loader.actor(bearer, fresh=True)
    assert again.grants == ()
    assert not again.may("patient", "read")
    assert await house.stands(again)


async def test_a_changed_tree_counts_with_the_next_request(house: House) -> None:
    bearer = house.token()
    actor = await house.loader.actor(bearer)
    added = make.unit(house.tree.tenant, house.tree.regions[0], "clinic")
    make.save(house.database, added)
    await house.touch_tenant(tree_version=Tenant.tree_version + 1)
    assert not await house.stands(actor)
    again = await house.loader.actor(bearer, fresh=True)
    assert added.id in again.tree
    assert again.tree.version == actor.tree.version + 1


async def test_a_grant_begins_and_ends_by_the_clock(house: House) -> None:
    begins = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    ends = begins + dt.timedelta(seconds=50)
    times = {"valid_from": begins, "valid_until": ends}
    make.save(house.database, make.grant(house.nurse, "provider", house.tree.root, **times))
    bearer = house.token()
    actor = await house.loader.actor(bearer)
    assert [grant.role for grant in actor.grants] == ["nurse"]
    assert actor.valid_until == begins
    house.clock.ahead = 101
    during = await house.loader.actor(bearer)
    assert [grant.role for grant in during.grants] == ["nurse", "provider"]
    assert during.valid_until == ends
    house.clock.ahead = 151
    after = await house.loader.actor(bearer)
    assert [grant.role for grant in after.grants] == ["nurse"]


async def test_a_second_factor_is_asked_for_by_the_api(house: House) -> None:
    bearer = house.token()
    actor = await house.loader.actor(bearer)
    await house.touch_tenant(mfa_policy=MfaPolicy.ALL)
    assert not await house.stands(actor)
    with pytest.raises(MfaRequired) as asked:
        await house.loader.actor(bearer, fresh=True)
    assert asked.value.acr_values == "mfa"
    assert await house.loader.actor(house.token(acr="mfa"))
    assert await house.loader.actor(house.token(amr=["pwd", "recovery"]))
    await house.touch_tenant(mfa_policy=MfaPolicy.ADMINS)
    # A refusal from memory is asked of the database again before it is given.
    assert await house.loader.actor(bearer)


async def test_administrators_by_a_grant_need_a_second_factor(house: House) -> None:
    await house.touch_tenant(mfa_policy=MfaPolicy.ADMINS)
    assert await house.loader.actor(house.token())
    make.save(house.database, make.grant(house.nurse, "auditor", house.tree.root))
    await house.touch_nurse()
    with pytest.raises(MfaRequired):
        await house.loader.actor(house.token(), fresh=True)


async def test_an_unknown_subject_is_nobody(house: House) -> None:
    with pytest.raises(NotAdmitted):
        await house.loader.actor(house.token(sub="somebody-else"))


async def test_a_token_of_one_health_system_opens_no_other(
    house: House, database: Database
) -> None:
    async with served() as keys, opened(database, keys) as other:
        subject = other.nurse.subject
        with pytest.raises(NotAdmitted):
            await house.loader.actor(house.token(sub=subject))
        # The key, the tenant claim or the issuer is always the wrong one.
        for forged in (
            house.authority.signed(other.authority.header(), other.authority.claims(sub=subject)),
            house.token(sub=subject, tenant_id=str(other.nurse.tenant_id)),
            house.token(sub=subject, iss=other.authority.issuer),
        ):
            with pytest.raises(TokenRefused):
                await house.loader.actor(forged)


async def test_a_health_system_that_is_not_active_in_the_registry_has_no_issuer(
    house: House,
) -> None:
    await house.execute(
        update(TenantEntry).where(TenantEntry.id == house.nurse.tenant_id).values(state="suspended")
    )
    with pytest.raises(TokenRefused) as refused:
        await house.loader.actor(house.token())
    assert refused.value.reason is Refusal.ISSUER


async def test_expired_actors_are_not_served(house: House) -> None:
    bearer = house.token(exp=now() - 29, iat=now() - 329)
    assert await house.loader.actor(bearer)
    house.clock.ahead = 2
    with pytest.raises(Unauthenticated):
        await house.loader.actor(bearer)
