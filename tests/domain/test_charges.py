"""Charges are priced on the day of service at the nearest node, and rounded once."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.billing import (
    ChargeItem,
    Charging,
    CodeSystem,
    PriceOverlaps,
    end_price,
    point_to,
    record_charge,
    set_price,
    void_charge,
)
from domain.encounters import Encounter
from domain.errors import Invalid, StaleVersion
from domain.model import new_id
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage

pytestmark = pytest.mark.anyio
CODE = "V-1"


@pytest.fixture
def at(database: Database) -> Stage:
    made = stage(database)
    made.tree.tenant.currency, made.tree.tenant.currency_digits = "USD", 2
    return made


@pytest.fixture
def visit(at: Stage, database: Database) -> Encounter:
    begun = make.NOW - dt.timedelta(hours=2)
    site = make.site(at.patient, at.ward)
    made = make.encounter(at.patient, at.ward, started_at=begun)
    make.save(database, site, made)
    return made


def price(at: Stage, minor: int, **values: Any) -> Any:
    return make.price(at.tree.tenant, **{"code": CODE, "price_minor": minor} | values)


def asked(**values: Any) -> Charging:
    return Charging(**{"code_system": "INTERNAL", "code": CODE} | values)


async def charged(engine: AsyncEngine, at: Stage, visit: Encounter, **values: Any) -> ChargeItem:
    async with acting(engine, at.tenant_id) as session:
        return await record_charge(session, at.agent, visit, asked(**values))


async def test_the_nearest_node_and_the_day_decide_about_the_price(
    at: Stage, app_engine: AsyncEngine, database: Database, visit: Encounter
) -> None:
    region = at.tree.regions[0]
    make.save(
        database,
        price(at, 100),
        price(at, 200, unit_id=region.id),
        price(at, 300, unit_id=at.elsewhere.id),
        price(at, 400, unit_id=at.clinic.id, effective_until=dt.date(2026, 3, 2)),
        price(at, 500, unit_id=at.clinic.id, effective_from=dt.date(2026, 3, 2)),
    )
    assert (await charged(app_engine, at, visit)).unit_price_minor == 500
    # 05:00 UTC of the second is still the first in Chicago.
    early = dt.datetime(2026, 3, 2, 5, 0, tzinfo=dt.UTC)
    made = await charged(app_engine, at, visit, occurred_at=early)
    assert made.unit_price_minor == 400
    make.save(database, price(at, 600, unit_id=at.ward.id))
    made = await charged(app_engine, at, visit, units=Decimal("2.5"), modifiers=("25", "LT"))
    assert (made.amount_minor, made.state, made.unit_id) == (1_500, "billable", at.ward.id)
    async with acting(app_engine, at.tenant_id) as session:
        assert await audited(session, at.agent) == [("charge:record", "done")] * 3


@pytest.mark.parametrize(
    ("units", "minor", "amount"),
    [("0.5", 333, 167), ("0.001", 500, 1), ("0.001", 499, 0), ("1.5", 1, 2), ("999999.999", 1, 10**6)],
)  # fmt: skip
async def test_a_line_is_rounded_half_up_once(
    at: Stage,
    app_engine: AsyncEngine,
    database: Database,
    visit: Encounter,
    units: str,
    minor: int,
    amount: int,
) -> None:
    make.save(database, price(at, minor))
    made = await charged(app_engine, at, visit, units=Decimal(units))
    assert made.amount_minor == amount


@pytest.mark.parametrize(
    ("values", "code", "path"),
    [
        ({"units": Decimal(0)}, "INVALID", "units"),
        ({"units": Decimal(-1)}, "INVALID", "units"),
        ({"units": Decimal("1.0001")}, "INVALID", "units"),
        ({"units": Decimal("1000000")}, "INVALID", "units"),
        ({"units": Decimal("NaN")}, "INVALID", "units"),
        ({"modifiers": ("A", "B1")}, "INVALID", "modifiers"),
        ({"modifiers": ("A1", "A1")}, "INVALID", "modifiers"),
        ({"modifiers": ("A1", "A2", "A3", "A4", "A5")}, "INVALID", "modifiers"),
        ({"code_system": "LOINC"}, "INVALID", "codeSystem"),
        ({"code": "NONE"}, "NO_PRICE", "code"),
        ({"diagnosis_ids": (new_id(),)}, "NOT_A_DIAGNOSIS", "diagnoses"),
        ({"occurred_at": make.NOW + dt.timedelta(days=1)}, "INVALID", "occurredAt"),
        ({"occurred_at": make.NOW - dt.timedelta(days=3)}, "INVALID", "occurredAt"),
    ],
)
async def test_what_is_no_charge(
    at: Stage,
    app_engine: AsyncEngine,
    database: Database,
    visit: Encounter,
    values: dict[str, Any],
    code: str,
    path: str,
) -> None:
    make.save(database, price(at, 100))
    with pytest.raises(Invalid) as refused:
        await charged(app_engine, at, visit, **values)
    assert (refused.value.code, refused.value.path) == (code, (path,))


@pytest.mark.parametrize("state", ["planned", "cancelled", "entered-in-error"])
async def test_nothing_is_charged_for_what_did_not_take_place(
    at: Stage, app_engine: AsyncEngine, database: Database, state: str
) -> None:
    none = make.encounter(at.patient, at.clinic, state=state)
    make.save(database, none, price(at, 100))
    with pytest.raises(Invalid) as refused:
        await charged(app_engine, at, none)
    assert refused.value.code == "NOT_CHARGEABLE"


async def test_a_charge_points_to_diagnoses_of_its_encounter(
    at: Stage, app_engine: AsyncEngine, database: Database, visit: Encounter
) -> None:
    other = make.encounter(at.patient, at.clinic)
    mine, struck, foreign = (
        make.condition(visit),
        make.condition(visit, verification_status="entered-in-error"),
        make.condition(other),
    )
    make.save(database, other, mine, struck, foreign, price(at, 100))
    made = await charged(app_engine, at, visit, diagnosis_ids=(mine.id,))
    for wrong in (struck, foreign):
        with pytest.raises(Invalid):
            await charged(app_engine, at, visit, diagnosis_ids=(mine.id, wrong.id))
    # Who does not read conditions cannot name one.
    with pytest.raises(Invalid):
        async with acting(app_engine, at.tenant_id, scope_condition="{}") as session:
            await record_charge(session, at.agent, visit, asked(diagnosis_ids=(mine.id,)))
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(StaleVersion):
            await point_to(session, at.agent, made, 9, [mine.id])
        coded = await point_to(session, at.agent, made, 1, [mine.id])
        assert (coded.diagnosis_ids, coded.version) == ([mine.id], 2)
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(StaleVersion):
            await void_charge(session, at.agent, coded, 1)
        assert (await void_charge(session, at.agent, coded, 2)).state == "entered-in-error"
    async with acting(app_engine, at.tenant_id) as session:
        gone = await session.get_one(ChargeItem, {"tenant_id": at.tenant_id, "id": made.id})
        with pytest.raises(Invalid):
            await void_charge(session, at.agent, gone, 3)


async def test_a_price_ends_where_the_next_begins(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    day = dt.date(2026, 1, 1)
    make.save(database, price(at, 100))
    async with acting(app_engine, at.tenant_id) as session:
        args = (CodeSystem.INTERNAL, CODE, "Visit", Decimal("2.00"), "USD")
        made = await set_price(session, at.agent, *args, day)
        own = await set_price(session, at.agent, *args, day, unit_id=at.clinic.id)
        assert (made.price_minor, own.unit_id) == (200, at.clinic.id)
    async with acting(app_engine, at.tenant_id) as session:
        ended = await end_price(session, at.agent, made, 1, dt.date(2026, 6, 1))
        assert (ended.effective_until, ended.version) == (dt.date(2026, 6, 1), 2)
        for until in (day, dt.date(2026, 7, 1)):
            with pytest.raises(Invalid):
                await end_price(session, at.agent, ended, 2, until)
    with pytest.raises(PriceOverlaps):
        async with acting(app_engine, at.tenant_id) as session:
            await set_price(session, at.agent, *args, day)
    wrong: tuple[Any, ...]
    for wrong in (
        (CodeSystem.INTERNAL, "a b", "Visit", Decimal(1), "USD"),
        (CodeSystem.INTERNAL, CODE, " ", Decimal(1), "USD"),
        (CodeSystem.INTERNAL, CODE, "Visit", Decimal(-1), "USD"),
        (CodeSystem.INTERNAL, CODE, "Visit", Decimal(1), "EUR"),
    ):
        with pytest.raises(Invalid):
            async with acting(app_engine, at.tenant_id) as session:
                await set_price(session, at.agent, *wrong, dt.date(2027, 1, 1))


async def test_the_database_refuses_an_amount_that_is_not_units_times_price(
    at: Stage, app_engine: AsyncEngine, database: Database, visit: Encounter
) -> None:
    make.save(database, price(at, 100))
    made = await charged(app_engine, at, visit)
    here = (ChargeItem.tenant_id == at.tenant_id, ChargeItem.id == made.id)
    with pytest.raises(DBAPIError, match="ck_charge_item_amount"):
        async with acting(app_engine, at.tenant_id) as session:
            await session.execute(update(ChargeItem).where(*here).values(amount_minor=99))
