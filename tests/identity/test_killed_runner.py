"""A process that carries out an order and is killed in the middle leaves it to the next one, which finishes it."""

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from dev import ports
from domain.control import RegistryState, TenantEntry
from domain.operators import LifecycleOrder, OrderKind, OrderState
from domain.operators import Operator as Operators
from domain.organization import MfaPolicy
from domain.people import Person
from identity.keycloak_failures import NotFound
from identity.lifecycle import suspend_tenant
from identity.operators import Operator
from identity.order_runs import carry_out, due
from identity.orders import NewTenant, Ordered, decide, place
from identity.provisioning import PersonDraft
from identity.sync import cell_session
from identity.tenants import MadeTenant
from tests.database import Database
from tests.identity.conftest import KeycloakServer, World

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
CARETREE = str(Path(sys.executable).with_name("caretree"))
PATIENCE = 60


class Runner:
    """`caretree platform serve` as it runs in production, and its sudden end."""

    def __init__(self, database: Database, keycloak: KeycloakServer, keys: Path) -> None:
        settings = {
            "CARETREE_ENVIRONMENT": "development",
            "CARETREE_PLATFORM_DATABASE_URL": database.platform_url,
            "CARETREE_KEY_FILE": str(keys),
            "CARETREE_KEYCLOAK_URL": keycloak.url,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_ID": keycloak.account.client_id,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_SECRET": keycloak.account.secret,
            "CARETREE_PORTAL_URL": "http://127.0.0.1:9",
        }
        kept = {name: v for name, v in os.environ.items() if not name.startswith("CARETREE_")}
        self._environment = kept | settings
        self._processes: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        command = [CARETREE, "platform", "serve", "--port", str(ports.choose())]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._processes.append(subprocess.Popen(command, env=self._environment, **quiet))  # type: ignore[call-overload]  # values of one kind

    def kill(self) -> None:
        process = self._processes[-1]
        assert process.poll() is None, "it ended by itself"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def runner(database: Database, keycloak: KeycloakServer, tmp_path: Path) -> Iterator[Runner]:
    made = Runner(database, keycloak, tmp_path / "keys.json")
    yield made
    made.end()


async def until_state(world: World, slug: str, state: RegistryState) -> None:
    """Wait until the registry says so."""
    query = select(TenantEntry.state).where(TenantEntry.slug == slug)
    for _ in range(PATIENCE * 50):
        async with world.platform.control.connect() as connection:
            if await connection.scalar(query) == state:
                return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{slug} was never {state}")


async def state_of(world: World, order: LifecycleOrder) -> LifecycleOrder:
    async with AsyncSession(world.platform.control) as session:
        return await session.get_one(LifecycleOrder, order.id)


async def finished(world: World, order: LifecycleOrder) -> dict[str, Any]:
    """What the next runner makes of what the killed one left. Its lock may outlive it by a moment."""
    assert (await state_of(world, order)).state == OrderState.APPROVED
    for _ in range(PATIENCE * 5):
        assert order.id in await due(world.platform.control)
        if await carry_out(world.platform, order.id) is OrderState.DONE:
            return (await state_of(world, order)).report
        await asyncio.sleep(0.2)
    raise AssertionError((await state_of(world, order)).failure)


async def operator(world: World) -> Operator:
    async with AsyncSession(world.platform.control, expire_on_commit=False) as session:
        row = Operators(user_name=f"o{os.urandom(6).hex()}", given_name="O", family_name="P")
        session.add(row)
        await session.commit()
    return Operator(row.id, row.user_name, dt.datetime.now(dt.UTC))


async def test_the_next_runner_finishes_what_a_killed_one_began(
    world: World, runner: Runner
) -> None:
    one, two = await operator(world), await operator(world)
    people = PersonDraft("ada", "Ada", "Admin"), PersonDraft("otto", "Otto", "Officer")
    slug = f"k{os.urandom(6).hex()}"
    wanted = NewTenant(slug, "Killed Health", *people, region="test", mfa=MfaPolicy.NONE)
    order = await place(world.platform, one, Ordered(OrderKind.CREATE, slug, wanted.input))
    created = order
    runner.begin()
    await until_state(world, slug, RegistryState.CREATING)
    runner.kill()
    await until_state(world, slug, RegistryState.CREATING)
    report = await finished(world, order)
    async with AsyncSession(world.platform.control) as session:
        entry = (await session.scalars(select(TenantEntry).filter_by(slug=slug))).one()
    made = MadeTenant(entry.id, slug, entry.realm, entry.issuer, entry.id, {})
    world.made.append(made)
    assert (entry.state, report["tenantId"]) == (RegistryState.ACTIVE, str(entry.id))
    async with cell_session(world.cell, entry.id) as session:
        assert await session.scalar(select(func.count()).select_from(Person)) == len(people)
    users = await (await world.master(made)).get("users", briefRepresentation="true")
    assert {"ada", "otto"} <= {user["username"] for user in users}

    await suspend_tenant(world.platform, slug)
    order = await place(world.platform, one, Ordered(OrderKind.ERASE, slug, {}), two=True)
    await decide(world.platform, two, order.id, OrderState.APPROVED)
    runner.begin()
    await until_state(world, slug, RegistryState.ERASING)
    runner.kill()
    await until_state(world, slug, RegistryState.ERASING)
    report = await finished(world, order)
    assert report["rows"]["person"] == len(people)
    await until_state(world, slug, RegistryState.ERASED)
    # That it was made stays on record, and nobody's name.
    left = await state_of(world, created)
    assert (left.state, left.sealed) == (OrderState.DONE, None)
    assert "ada" in str(wanted.input)
    assert left.input.keys() == {"slug", "region", "currency", "mfa", "variant"}
    with pytest.raises(NotFound):
        await (await world.master(made)).read()
