"""A health system is handed over whole and then erased, from wherever a run was cut off, and nobody else's data with it."""

import asyncio
import datetime as dt
import hashlib
import io
import json
import stat
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy import LargeBinary, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from api.platform.graph import Desk, schema
from domain.control import IdentityCluster, RegistryState, TenantEntry
from domain.errors import IllegalMove, Invalid, NotFound
from domain.model import new_id
from domain.notes import Note
from domain.operators import LifecycleOrder, OrderKind, OrderState
from domain.operators import Operator as Operators
from domain.organization import Tenant
from domain.patients import Patient
from domain.sealing import KeyMissing
from identity.deferral import defer_sync_tenant
from identity.erasure import NotSuspended
from identity.exports import OPENED, SECRETS, WITHHELD, export_tenant, exported
from identity.keycloak_failures import NotFound as NoRealm
from identity.lifecycle import resume_tenant, suspend_tenant
from identity.operators import Operator
from identity.order_runs import carry_out, due, erase_now
from identity.orders import Ordered, OwnOrder, decide, place
from identity.sync import cell_session
from identity.tenants import MadeTenant, Platform, create_tenant
from tests import make
from tests.database import Database
from tests.domain.test_holdings import TABLES, contents
from tests.identity.conftest import World, order
from tests.migrations.test_walls import System, build

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
SSN, BODY = "219-09-9999", "Ärztlich: nothing to note."
DAY = dt.timedelta(days=1)
TABLES_OF_CRASHES = {"rows of allocation", "rows of claim", "rows of patient", "rows of tenant"}


class Crash(Exception):
    """Stands for a kill between two steps."""


async def full(world: World, database: Database) -> tuple[System, MadeTenant]:
    """A health system with a row in every table, sealed ones among them, and a realm."""
    system, wanted = build(), order()
    platform = world.platform
    await platform.keys.create(system.tenant_id)
    async with platform.control.begin() as connection:
        query = select(IdentityCluster.id, IdentityCluster.url).filter_by(name="test")
        cluster, url = (await connection.execute(query)).one()
        realm = f"o{system.tenant_id.hex[-15:]}"
        await connection.execute(
            insert(TenantEntry).values(
                id=system.tenant_id,
                slug=wanted.slug,
                cell="main",
                region="test",
                identity_cluster_id=cluster,
                realm=realm,
                issuer=f"{url}/realms/{realm}",
            )
        )
    system.tree.tenant.slug = wanted.slug
    make.save(database, *(r for r in system.rows if type(r).__tablename__ == "tenant"))
    keys = await platform.keys.of(system.tenant_id)
    for row in system.rows:
        if isinstance(row, Note):
            row.body_sealed = keys.seal("note.body_sealed", row.id, BODY.encode())
        if isinstance(row, Patient):
            row.national_id_sealed = keys.seal("patient.national_id_sealed", row.id, SSN.encode())
            row.national_id_index = keys.index(row.id.bytes)
    there = {"tenant", "data_key"}
    make.save(database, *(r for r in system.rows if type(r).__tablename__ not in there))
    made = await create_tenant(platform, wanted)
    world.made.append(made)
    return system, made


def of_archive(path: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The manifest, and each file of lines by its name."""
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        manifest = orjson.loads(archive.read("manifest.json"))
        lines = {
            name: [orjson.loads(line) for line in io.BytesIO(archive.read(name))]
            for name in archive.namelist()
            if name.endswith(".ndjson")
        }
    return manifest, lines


async def test_what_leaves_is_handed_over_whole_and_then_erased(
    world: World, database: Database, redis_url: str, tmp_path: Path
) -> None:
    platform = Platform(**{**world.platform.__dict__, "redis_url": redis_url})
    system, made = await full(world, database)
    other, theirs = await full(world, database)
    await suspend_tenant(platform, made.slug)
    await handed_over(world, database, system, made, tmp_path)
    with database.owner_engine.connect() as owner:
        before = contents(owner, other)
        assert all(before.values())
    redis: Any = Redis.from_url(redis_url)
    for tenant_id in (made.tenant_id, theirs.tenant_id):
        await redis.set(f"caretree:rates/{tenant_id}/x", 1, ex=60)
    async with cell_session(platform.cell, made.tenant_id) as session:
        await defer_sync_tenant(session, made.tenant_id)
    await with_every_crash(platform, made)
    with database.owner_engine.connect() as owner:
        assert {n: r for n, r in contents(owner, system).items() if r} == {}
        assert contents(owner, other) == before
        query = text("select count(*) from procrastinate_jobs where args->>'tenant_id' = :t")
        assert owner.scalar(query, {"t": str(made.tenant_id)}) == 0
        query = text("select count(*) from control.service_account where tenant_id = :t")
        assert [owner.scalar(query, {"t": t}) for t in (made.tenant_id, theirs.tenant_id)] == [0, 2]
    left = [await redis.exists(f"caretree:rates/{t.tenant_id}/x") for t in (made, theirs)]
    await redis.aclose()
    assert left == [0, 1]
    with pytest.raises(NoRealm):
        await (await world.master(made)).read()
    assert await (await world.master(theirs)).read()
    with pytest.raises(KeyMissing):
        await platform.keys.of(made.tenant_id)
    assert await platform.keys.of(theirs.tenant_id)
    await nothing_brings_it_back(platform, made)


async def handed_over(
    world: World, database: Database, system: System, made: MadeTenant, folder: Path
) -> None:
    """Every row of every table that is handed over, in plain text where it was sealed, and no secret."""
    to = folder / "out.zip"
    told = await export_tenant(world.platform, made.slug, to)
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert hashlib.sha256(to.read_bytes()).hexdigest() == told.sha256
    assert not to.with_name("out.zip.part").exists()
    manifest, lines = of_archive(to)
    assert manifest["rows"] == told.rows
    with database.owner_engine.connect() as owner:
        held = contents(owner, system)
    for table in exported():
        name = str(table.name)
        found = lines[f"rows/{name}.ndjson"]
        assert len(found) == len(held[name]) == told.rows[name]
        opened = OPENED.get(name, ())
        hidden = {*SECRETS.get(name, ()), *(f"{column}_sealed" for column in opened)}
        plain = [{k: v for k, v in row.items() if k not in opened} for row in found]
        rows = [json.loads(row) for row in held[name]]
        wanted = [{k: v for k, v in row.items() if k not in hidden} for row in rows]
        assert sorted(map(told_apart, plain)) == sorted(map(told_apart, wanted)), name
    assert {row["national_id"] for row in lines["rows/patient.ndjson"]} == {SSN}
    assert {row["body"] for row in lines["rows/note.ndjson"]} == {BODY}
    people = {row["username"]: row for row in lines["realm-users.ndjson"]}
    assert people["admin"]["credentials"][0].keys() <= {"type", "userLabel", "createdDate"}
    assert manifest["realmUsers"] == len(people)
    whole = to.read_bytes() + b"".join(ZipFile(to).read(name) for name in ZipFile(to).namelist())
    for secret in (await world.secrets(made)).values():
        assert secret.encode() not in whole


def told_apart(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


async def with_every_crash(platform: Platform, made: MadeTenant) -> None:
    """Erase it; each run dies one step later than the one before, within the rows at some tables."""
    steps: list[str] = []
    crashes = 0
    while True:

        def dies(step: str) -> None:
            deadly = not step.startswith("rows") or step in TABLES_OF_CRASHES
            if deadly and step not in steps:
                steps.append(step)
                raise Crash

        try:
            done = await erase_now(platform, made.slug, dies)
        except Crash:
            crashes += 1
            continue
        break
    assert crashes == len(steps)
    assert {"counted", "closed", "key", "realm", "jobs", "counts", "registry"} <= set(steps)
    assert set(steps) >= TABLES_OF_CRASHES
    assert done.state == OrderState.DONE
    assert done.requested_by is None
    assert done.report["rows"].keys() == TABLES.keys()
    assert done.report["tenantId"] == str(made.tenant_id)


async def nothing_brings_it_back(platform: Platform, made: MadeTenant) -> None:
    async with AsyncSession(platform.control) as session:
        entry = (await session.scalars(select(TenantEntry).filter_by(slug=made.slug))).one()
    assert entry.state == RegistryState.ERASED
    for again in (suspend_tenant, resume_tenant):
        with pytest.raises(NotFound):
            await again(platform, made.slug)
    with pytest.raises(Invalid, match="taken"):
        await create_tenant(platform, order(slug=made.slug))
    with pytest.raises(NotFound):
        await erase_now(platform, made.slug)
    with pytest.raises(NotFound):
        await export_tenant(platform, made.slug, Path("/nowhere"))
    assert made.tenant_id not in await platform.accounts.tenants()


def test_every_column_of_bytes_is_opened_or_left_out() -> None:
    """A new one that is neither would be handed over sealed, or hand a secret over."""
    opened = {
        (table, f"{column}_sealed") for table, columns in OPENED.items() for column in columns
    }
    left = {(table, column) for table, columns in SECRETS.items() for column in columns}
    found = {
        (str(table.name), str(column.name))
        for table in exported()
        for column in table.c
        if isinstance(column.type, LargeBinary)
    }
    assert found == opened | left
    assert WITHHELD.keys() < TABLES.keys()


@pytest.fixture
async def entry(platform: Platform) -> TenantEntry:
    """A suspended health system as the registry knows it, without a realm or a row."""
    name = f"t{new_id().hex[-12:]}"
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        cluster = await session.scalar(select(IdentityCluster).filter_by(name="test"))
        assert cluster is not None
        made = TenantEntry(
            slug=name,
            cell="main",
            region="test",
            identity_cluster_id=cluster.id,
            realm=f"o{new_id().hex[-15:]}",
            issuer=f"http://127.0.0.1:9/{name}",
            state=RegistryState.SUSPENDED.value,
            epoch=3,
        )
        session.add(made)
    return made


async def operator(platform: Platform) -> Operator:
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        row = Operators(user_name=f"o{new_id().hex}", given_name="O", family_name="P")
        session.add(row)
    return Operator(row.id, row.user_name, dt.datetime.now(dt.UTC))


async def state_of(platform: Platform, order_id: Any) -> LifecycleOrder:
    async with AsyncSession(platform.control) as session:
        return await session.get_one(LifecycleOrder, order_id)


async def test_operators_erase_by_two_after_a_wait_and_may_take_it_back(
    platform: Platform, entry: TenantEntry
) -> None:
    one, two = await operator(platform), await operator(platform)
    wanted = Ordered(OrderKind.ERASE, entry.slug, {})
    placed = await place(platform, one, wanted, key="k", two=True)
    assert (await place(platform, one, wanted, key="k", two=True)).id == placed.id
    with pytest.raises(Invalid) as twice:
        await place(platform, two, wanted, key="k", two=True)
    assert twice.value.code == "ORDERED_ALREADY"
    with pytest.raises(OwnOrder):
        await decide(platform, one, placed.id, OrderState.APPROVED, wait=DAY)
    approved = await decide(platform, two, placed.id, OrderState.APPROVED, wait=DAY)
    assert approved.not_before is not None
    assert approved.not_before > dt.datetime.now(dt.UTC) + DAY / 2
    assert placed.id not in await due(platform.control)
    back = await decide(platform, one, placed.id, OrderState.DECLINED)
    assert (back.state, back.decided_by) == (OrderState.DECLINED, two.id)
    assert back.report == {"takenBackBy": str(one.id)}
    # Nothing that has begun, or whose time has come, is taken back.
    again = await place(platform, one, wanted, key="again", two=True)
    await decide(platform, two, again.id, OrderState.APPROVED)
    assert again.id in await due(platform.control)
    with pytest.raises(IllegalMove):
        await decide(platform, one, again.id, OrderState.DECLINED)
    # And it is done. There is no realm, no key and no row: each step finds nothing to do.
    assert await carry_out(platform, again.id) is OrderState.DONE
    async with AsyncSession(platform.control) as session:
        assert (await session.get_one(TenantEntry, entry.id)).state == RegistryState.ERASED


async def test_who_was_let_in_again_is_not_erased(platform: Platform, entry: TenantEntry) -> None:
    one, two = await operator(platform), await operator(platform)
    placed = await place(platform, one, Ordered(OrderKind.ERASE, entry.slug, {}), two=True)
    await decide(platform, two, placed.id, OrderState.APPROVED)
    async with platform.control.begin() as connection:  # resumed, and suspended once more
        mine = update(TenantEntry).where(TenantEntry.id == entry.id)
        await connection.execute(mine.values(epoch=TenantEntry.epoch + 2))
    assert await carry_out(platform, placed.id) is OrderState.FAILED
    failed = await state_of(platform, placed.id)
    assert failed.failure == str(NotSuspended())
    async with AsyncSession(platform.control) as session:
        assert (await session.get_one(TenantEntry, entry.id)).state == RegistryState.SUSPENDED


async def test_what_is_open_is_not_ordered_to_be_erased(
    platform: Platform, entry: TenantEntry
) -> None:
    async with platform.control.begin() as connection:
        mine = update(TenantEntry).where(TenantEntry.id == entry.id)
        await connection.execute(mine.values(state="active"))
    with pytest.raises(NotSuspended):
        await erase_now(platform, entry.slug)


async def test_the_slug_is_typed(platform: Platform, entry: TenantEntry) -> None:

    desk = Desk(await operator(platform), platform, asyncio.Event(), two=False, wait=DAY)
    ask = """mutation($s: String!, $c: String!) { eraseTenant(input: {slug: $s, confirmation: $c, idempotencyKey: "k"})
        { order { state notBefore } userErrors { code path } } }"""
    for typed, code in (("", "NOT_CONFIRMED"), (entry.slug.upper(), "NOT_CONFIRMED")):
        values = {"s": entry.slug, "c": typed}
        answer = await schema().execute(ask, variable_values=values, context_value=desk)
        assert answer.data is not None
        refused = answer.data["eraseTenant"]
        assert refused["order"] is None
        assert refused["userErrors"] == [{"code": code, "path": ["confirmation"]}]
    values = {"s": entry.slug, "c": entry.slug}
    answer = await schema().execute(ask, variable_values=values, context_value=desk)
    assert answer.data is not None
    # Also where orders otherwise take one operator.
    assert answer.data["eraseTenant"]["order"] == {"state": "REQUESTED", "notBefore": None}


async def test_an_export_that_is_ordered_goes_to_the_folder_for_exports(
    world: World, tmp_path: Path
) -> None:
    made = await world.tenant()
    platform = Platform(**{**world.platform.__dict__, "exports": tmp_path / "exports"})
    asked = Ordered(OrderKind.EXPORT, made.slug, {})
    placed = await place(platform, await operator(platform), asked)
    assert await carry_out(world.platform, placed.id) is OrderState.FAILED
    assert (await state_of(platform, placed.id)).failure is not None
    placed = await place(platform, await operator(platform), asked)
    assert await carry_out(platform, placed.id) is OrderState.DONE
    report = (await state_of(platform, placed.id)).report
    written = tmp_path / "exports" / report["file"]
    assert hashlib.sha256(written.read_bytes()).hexdigest() == report["sha256"]
    assert report["rows"]["person"] == 2
    async with cell_session(platform.cell, made.tenant_id) as session:
        assert (await session.scalars(select(Tenant.state))).one() == "active"
