"""E-mail domains: proven by the DNS alone, by one health system, lost with the record; and where their people log in."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import pytest
from sqlalchemy import event, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from domain.control import DomainEntry, IdentityCluster, TenantEntry
from domain.database import engine
from domain.email_domains import EmailDomain, domain_of, known_domain
from domain.errors import Invalid
from domain.identity_providers import IdentityProvider
from domain.model import new_id
from identity.discovery import FRESH, Homes
from identity.domains import NoAnswer, check_domain, domains_of, lead
from identity.errors import IdentityUnavailable
from identity.routes import routes
from identity.sync import cell_session
from tests import make, providers
from tests.database import Database
from tests.identity.forge import Clock

pytestmark = pytest.mark.anyio


@dataclass
class Names:
    """A DNS that says what a test puts there."""

    records: dict[str, set[str]] = field(default_factory=dict)
    away: bool = False

    async def __call__(self, name: str) -> frozenset[str]:
        if self.away:
            raise NoAnswer()
        return frozenset(self.records.get(name, ()))


@dataclass
class House:
    """A health system with a provider and a domain of its own that is not proven."""

    cell: AsyncEngine
    control: AsyncEngine
    database: Database
    names: Names
    name: str

    def __post_init__(self) -> None:
        self.system = make.tenant()
        self.of = providers.provider(self.system)
        self.domain = providers.domain(
            self.of,
            self.name,
            state="pending",
            proven_at=None,
            checked_at=None,
            challenge=f"caretree-domain={secrets.token_hex(4)}",
        )
        cluster = IdentityCluster(
            id=new_id(),
            name=secrets.token_hex(6),
            region="x",
            url="http://k",
            public_url="http://k",
        )
        self.entry = TenantEntry(
            id=self.system.tenant_id,
            slug=f"t{self.system.tenant_id.hex[:12]}",
            cell="main",
            region="x",
            identity_cluster_id=cluster.id,
            realm=f"o{secrets.token_hex(7)}",
            issuer=f"http://k/realms/{secrets.token_hex(6)}",
            state="active",
        )
        with self.database.owner_engine.begin() as connection:
            make.save(connection, self.system, self.of, self.domain)
            for row in (cluster, self.entry):
                table = type(row).__table__
                values = {c.name: getattr(row, c.name) for c in table.columns}
                given = {k: v for k, v in values.items() if v is not None}
                connection.execute(table.insert().values(given))  # type: ignore[attr-defined]  # a table

    def publish(self, *values: str) -> None:
        self.names.records[f"_caretree.{self.name}"] = set(values)

    async def check(self) -> EmailDomain:
        """Look at the record, and answer the row as it is then."""
        tenant_id: UUID = self.system.tenant_id
        await check_domain(self.cell, self.control, self.names, tenant_id, self.domain.id)
        async with cell_session(self.cell, tenant_id) as session:
            return await session.get_one(EmailDomain, (tenant_id, self.domain.id))

    async def listed(self) -> UUID | None:
        async with self.control.connect() as connection:
            found = select(DomainEntry.tenant_id).where(DomainEntry.domain == self.name)
            return await connection.scalar(found)


@pytest.fixture
async def engines(database: Database) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    cell = database.async_engine("caretree_app")
    control = engine(database.worker_url, application="test-domains", size=1)
    yield cell, control
    await cell.dispose()
    await control.dispose()


@pytest.fixture
def house(engines: tuple[AsyncEngine, AsyncEngine], database: Database) -> House:
    return House(*engines, database, Names(), f"d{secrets.token_hex(5)}.example")


async def test_the_record_proves_a_domain_and_its_loss_ends_it(house: House) -> None:
    assert (await house.check()).state == "pending"
    house.publish("v=spf1 -all", house.domain.challenge)
    proven = await house.check()
    assert proven.state == "proven"
    assert await house.listed() == house.system.tenant_id
    # A name server that is away says nothing of it.
    house.names.away = True
    with pytest.raises(NoAnswer):
        await house.check()
    house.names.away = False
    again = await house.check()
    assert (again.state, again.version) == ("proven", proven.version)
    house.publish("v=spf1 -all")
    lost = await house.check()
    assert (lost.state, lost.proven_at) == ("lost", proven.proven_at)
    assert await house.listed() is None
    assert house.domain.id in await domains_of(house.cell, house.system.tenant_id)


async def test_another_ones_record_or_a_part_of_it_proves_nothing(house: House) -> None:
    challenge = house.domain.challenge
    house.publish("caretree-domain=another", challenge[:-1], challenge + "x", challenge.upper())
    assert (await house.check()).state == "pending"
    house.names.records[house.name] = {challenge}  # not where it has to lie
    assert (await house.check()).state == "pending"


async def test_a_domain_is_of_the_first_who_proves_it(
    house: House, engines: tuple[AsyncEngine, AsyncEngine], database: Database
) -> None:
    other = House(*engines, database, house.names, house.name)
    house.publish(house.domain.challenge, other.domain.challenge)
    assert (await house.check()).state == "proven"
    assert (await other.check()).state == "pending"
    assert await house.listed() == house.system.tenant_id
    house.publish(other.domain.challenge)
    assert (await house.check()).state == "lost"
    assert (await other.check()).state == "proven"


async def test_where_a_domain_logs_in_looks_the_same_for_one_that_nobody_has(house: House) -> None:
    house.publish(house.domain.challenge)
    await house.check()
    reader = house.database.async_engine("caretree_app")
    asked: list[str] = []
    event.listen(reader.sync_engine, "before_cursor_execute", lambda *a: asked.append(str(a[2])))
    clock = Clock()
    homes = Homes(reader, clock=clock)
    doors = type("Doors", (), {"homes": homes})()
    app = Starlette(routes=routes(lambda: doors))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:

        async def told(name: str) -> httpx.Response:
            return await http.get(f"/login-of-domain/{name}")

        known = (await told(house.name.upper())).json()
        assert (known["issuer"], known["identityProvider"]) == (
            house.entry.issuer,
            str(house.of.id),
        )
        before = len(asked)
        for name in ("nobody.example", "x", "%00", "a" * 400):
            unknown = await told(name)
            assert unknown.status_code == 200
            assert set(unknown.json()) == set(known)
            assert not any(unknown.json().values())
        # No question to the database is asked for the one that is not asked for the other.
        assert (await told(house.name)).json() == known
        assert len(asked) == before
        clock.now += FRESH + 1
        await told("nobody.example")
        assert len(asked) > before
    await reader.dispose()


async def test_a_domain_whose_provider_is_closed_leads_nowhere(house: House) -> None:
    house.publish(house.domain.challenge)
    await house.check()
    clock, tenant_id = Clock(), house.system.tenant_id
    homes = Homes(house.control, clock=clock)

    async def leads() -> bool:
        clock.now += FRESH + 1
        issuer, provider, _ = await homes.of(house.name)
        return (issuer, provider) != (None, None)

    async def become(state: str) -> None:
        mine = IdentityProvider.id == house.of.id
        with house.database.owner_engine.begin() as connection:
            connection.execute(update(IdentityProvider).where(mine).values(state=state))

    assert await leads()
    await become("suspended")
    await lead(house.cell, house.control, tenant_id, house.of.id)
    assert not await leads()
    assert (await house.check()).state == "proven", "it stays this health system's"
    assert not await leads()
    await become("active")
    await lead(house.cell, house.control, tenant_id, house.of.id)
    assert await leads()
    await lead(house.cell, house.control, tenant_id, new_id())
    assert await leads()


async def test_without_the_control_plane_nobody_is_told_anything() -> None:
    nowhere = engine("postgresql://nobody@127.0.0.1:1/none", application="test", size=1)
    with pytest.raises(IdentityUnavailable):
        await Homes(nowhere).of("corp.example")


@pytest.mark.parametrize(
    "name", ["corp", "", "corp..example", "-a.example", "a b.example", "a" * 260]
)
def test_what_is_no_domain(name: str) -> None:
    with pytest.raises(Invalid):
        known_domain(name)
    assert domain_of(f"nora@{name}") is None


def test_domains_are_kept_as_they_are_compared() -> None:
    assert known_domain(" Bücher.Example. ") == "xn--bcher-kva.example"
    assert domain_of("Nora@Corp.Example") == "corp.example"
    assert domain_of("nora") is None
