"""The registry in memory: exact, cheap against invented names, and usable while the control plane is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.control import TenantEntry
from domain.database import engine
from identity.errors import IdentityUnavailable
from identity.registry import AGAIN, FRESH, Registry
from tests.database import Database
from tests.identity.forge import Clock, served
from tests.identity.test_actors import House, opened

pytestmark = pytest.mark.anyio


class Counted:
    """An engine of the application's role that counts its statements and can be cut off."""

    def __init__(self, made: AsyncEngine) -> None:
        self.engine = made
        self.statements = 0
        self.cut = False
        event.listen(made.sync_engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        if self.cut:
            raise OSError("no route to host")
        self.statements += 1


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with served() as keys, opened(database, keys) as house:
        yield house


@pytest.fixture
async def control(database: Database) -> AsyncIterator[Counted]:
    made = engine(database.app_url, application="test-registry", size=1)
    yield Counted(made)
    await made.dispose()


async def test_it_is_read_once_for_many(house: House, control: Counted) -> None:
    clock = Clock()
    registry = Registry(control.engine, clock=clock)
    issuer = house.authority.issuer
    found = await asyncio.gather(*(registry.issuer(issuer) for _ in range(50)))
    assert all(f and f.tenant_id == house.nurse.tenant_id for f in found)
    assert control.statements == 1
    clock.now += FRESH - 1
    assert await registry.by_id(house.nurse.tenant_id)
    assert control.statements == 1
    clock.now += 1
    assert await registry.issuer(issuer)
    assert control.statements == 2


async def test_the_text_of_an_issuer_is_compared_exactly(house: House, control: Counted) -> None:
    registry = Registry(control.engine)
    issuer = house.authority.issuer
    for other in (issuer + "/", issuer.upper(), issuer.replace("127.0.0.1", "localhost"), ""):
        assert await registry.issuer(other) is None
    found = await registry.issuer(issuer)
    assert found
    assert found.keys_url == f"{issuer}/protocol/openid-connect/certs"


async def test_invented_names_cost_one_query_each_two_seconds(
    house: House, control: Counted
) -> None:
    clock = Clock()
    registry = Registry(control.engine, clock=clock)
    for number in range(100):
        assert await registry.by_slug(f"invented-{number}") is None
    assert control.statements == 1
    clock.now += AGAIN
    assert await registry.by_slug("invented") is None
    assert control.statements == 2


async def test_a_new_health_system_is_known_within_two_seconds(
    house: House, control: Counted
) -> None:
    clock = Clock()
    registry = Registry(control.engine, clock=clock)
    one = (TenantEntry.id == house.nurse.tenant_id,)
    await house.execute(update(TenantEntry).where(*one).values(state="creating"))
    assert await registry.issuer(house.authority.issuer) is None
    assert await registry.by_id(house.nurse.tenant_id)
    await house.execute(update(TenantEntry).where(*one).values(state="active"))
    clock.now += AGAIN
    assert await registry.issuer(house.authority.issuer)


async def test_the_last_copy_serves_while_the_control_plane_is_away(
    house: House, control: Counted
) -> None:
    clock = Clock()
    registry = Registry(control.engine, clock=clock)
    assert await registry.issuer(house.authority.issuer)
    control.cut = True
    clock.now += 86_400
    assert await registry.issuer(house.authority.issuer)
    assert await registry.issuer("http://nowhere") is None


async def test_without_any_copy_it_says_neither_yes_nor_no(house: House, control: Counted) -> None:
    clock = Clock()
    registry = Registry(control.engine, clock=clock)
    control.cut = True
    for _ in range(2):
        with pytest.raises(IdentityUnavailable):
            await registry.issuer(house.authority.issuer)
    control.cut = False
    clock.now += AGAIN
    assert await registry.issuer(house.authority.issuer)
