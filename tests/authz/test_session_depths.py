"""Classes that a statement only mentions: SQLAlchemy adds criteria to some places and not to others.

Each way either shows no row that the actor may not read, or is refused.
"""

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Text,
    and_,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    join,
    lateral,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
    values,
)
from sqlalchemy import Integer as Whole
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import aliased
from sqlalchemy.orm import join as class_join

from authz.guard import GuardedSession, Unguarded, guarded_session
from domain.encounters import Encounter
from domain.patients import Patient
from tests import make
from tests.authz.world import World, actor, world
from tests.database import Database

Key = uuid.UUID
Way = Callable[[Key], Any]


@pytest.fixture(scope="module")
def here(database: Database) -> World:
    made = world(51)
    make.save(database, *made.all)
    return made


@pytest.fixture
async def nurse(here: World, app_engine: AsyncEngine) -> AsyncIterator[GuardedSession]:
    asker = actor(here.tree, ("nurse", here.made.clinics[0].id), person_id=here.people[0].id)
    async with guarded_session(app_engine, asker) as session:
        yield session


def is_(key: Key) -> Any:
    return Patient.id == key


def mrn(key: Key) -> Any:
    return select(Patient.mrn).where(is_(key)).scalar_subquery()


OF = Encounter.patient_id == Patient.id
ONE = values(column("n", Whole), name="v").data([(1,)])
SHOWN: dict[str, Way] = {
    "exists": lambda key: select(Encounter.id).where(exists(select(1).where(is_(key)))),
    "exists about nothing": lambda key: select(Encounter.id).where(exists().where(is_(key))),
    "plain exists": lambda key: select(true()).where(exists(select(1).where(is_(key)))),
    "implicit join": lambda key: select(Encounter.id).where(is_(key), OF),
    "implicit join by an alias": lambda key: (
        lambda p: select(Encounter.id).where(p.id == key, Encounter.patient_id == p.id)
    )(aliased(Patient)),
    "either": lambda key: select(Encounter.id).where(or_(is_(key), Encounter.id == key), OF),
    "scalar": lambda key: select(mrn(key)),
    "scalar in a case": lambda key: select(
        Encounter.id, case((Encounter.state == "x", "x"), else_=mrn(key))
    ).where(mrn(key).is_not(None)),
    "cast": lambda key: select(cast(Patient.mrn, Text)).where(is_(key)),
    "function": lambda key: select(func.lower(Patient.mrn)).where(is_(key)),
    "case beside a class": lambda key: select(Encounter.id, case((true(), Patient.mrn))).where(
        is_(key), OF
    ),
    "cast in where": lambda key: select(Encounter.id).where(
        cast(Patient.version, Boolean), is_(key), OF
    ),
    "lateral and values": lambda key: select(
        lateral(select(Patient.mrn).where(is_(key))).c.mrn
    ).join(ONE, true()),
    "union": lambda key: union_all(
        select(Patient.id).where(is_(key)),
        select(Encounter.id).where(exists(select(1).where(is_(key)))),
    ),
    "cte": lambda key: select(true()).where(
        exists(select(1).select_from(select(Patient.id).where(is_(key)).cte("c")))
    ),
    "one cte twice": lambda key: (lambda c: union_all(select(c.c.id), select(c.c.id)))(
        select(Patient.id).where(is_(key)).cte("twice")
    ),
    "recursive cte": lambda key: (
        lambda c: select(
            c.union_all(
                select(Patient.id).join(c, c.c.id == Patient.id).where(Patient.id != key)
            ).c.id
        )
    )(select(Patient.id).where(is_(key)).cte("r", recursive=True)),
    "order": lambda key: select(Encounter.id).where(mrn(key) > "").order_by(mrn(key)),
    "in": lambda key: select(Patient.id).where(
        Patient.mrn.in_(select(func.upper(Patient.mrn)).where(is_(key)))
    ),
    "correlated": lambda key: select(Patient.id).where(
        is_(key), exists(select(Encounter.id).where(func.starts_with(Patient.mrn, "")))
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("way", SHOWN)
async def test_a_class_deep_inside_carries_its_policy(
    here: World, nurse: GuardedSession, way: str
) -> None:
    read = nurse.actor.predicate("patient", "read")
    seen = [p.id for p in here.of(Patient) if read.allows(here.target(p))]
    hidden = [p.id for p in here.of(Patient) if p.id not in set(seen)]

    assert [x for x in await nurse.scalars(SHOWN[way](hidden[0])) if x] == []
    visited = next(e.patient_id for e in here.of(Encounter) if e.patient_id in set(seen))
    assert [x for x in await nurse.scalars(SHOWN[way](visited)) if x]


REFUSED: dict[str, Callable[[], Any]] = {
    "case about nothing": lambda: select(case((true(), Patient.mrn))),
    "exists about nothing": lambda: select(true()).where(exists().where(Patient.mrn == "x")),
    "scalar in a case": lambda: select(case((true(), mrn(uuid.uuid4())))),
    "function in where": lambda: select(Encounter.id).where(func.starts_with(Patient.mrn, "")),
    "alias in a function": lambda: select(Encounter.id).where(
        func.starts_with(aliased(Patient).mrn, "")
    ),
    "function in an inner where": lambda: select(Patient.id).where(
        exists(select(1).where(func.lower(Patient.mrn) == "x"))
    ),
    "case in an inner select": lambda: select(Encounter.id).where(
        exists(select(case((true(), Patient.mrn))))
    ),
    "and about nothing": lambda: select(Encounter.id).where(
        exists().where(and_(Patient.mrn == "x", Patient.active))
    ),
    "case in a union": lambda: union_all(select(Patient.id), select(case((true(), Patient.id)))),
    "not correlated": lambda: select(Patient.id).where(
        exists(select(Encounter.id).where(func.lower(Patient.mrn) == "x").correlate(None))
    ),
    "sub-select in from": lambda: select(
        Patient.id, select(Encounter.id).where(func.lower(Patient.mrn) == "x").subquery().c.id
    ),
    "sub-select of a sub-select's alias": lambda: select(
        select(case((true(), Patient.mrn))).subquery().alias("a").c[0]
    ),
    "order": lambda: select(Encounter.id).order_by(Patient.mrn),
    "group": lambda: select(func.count(Encounter.id)).group_by(Patient.mrn),
    "having": lambda: select(func.count(Encounter.id)).having(func.max(Patient.mrn) == "x"),
    "joined source": lambda: select(Encounter.id).select_from(
        class_join(Encounter, Patient, Encounter.patient_id == Patient.id)
    ),
    "core join": lambda: select(Encounter.id).select_from(
        join(Encounter, Patient, Encounter.patient_id == Patient.id)
    ),
    "update from": lambda: (
        update(Encounter).values(reason=Patient.mrn).where(Encounter.patient_id == Patient.id)
    ),
    "delete using": lambda: delete(Encounter).where(Encounter.patient_id == Patient.id),
    "returning another": lambda: update(Encounter).values(reason="x").returning(Patient.mrn),
    "text among columns": lambda: select(literal_column("mrn")).select_from(Patient),
}


@pytest.mark.anyio
@pytest.mark.parametrize("way", REFUSED)
async def test_a_class_without_criteria_is_refused(nurse: GuardedSession, way: str) -> None:
    await nurse.allow("encounter:progress")
    with pytest.raises(Unguarded):
        await nurse.execute(REFUSED[way]())


@pytest.mark.anyio
async def test_writes_reach_rows_by_what_the_actor_reads(
    here: World, nurse: GuardedSession
) -> None:
    read = nurse.actor.predicate("patient", "read")
    hidden = [p.id for p in here.of(Patient) if not read.allows(here.target(p))]
    await nurse.allow("encounter:progress")
    options = {"synchronize_session": False}
    for test in (
        exists(select(Patient.id).where(Patient.id.in_(hidden))),
        exists().where(Patient.id.in_(hidden)),
        Encounter.tenant_id.in_(select(Patient.tenant_id).where(Patient.id.in_(hidden))),
    ):
        statement = update(Encounter).values(reason="x").where(test).returning(Encounter.id)
        assert list(await nurse.scalars(statement, execution_options=options)) == []
    by_value = update(Encounter).values(reason=mrn(hidden[0])).returning(Encounter.reason)
    assert set(await nurse.scalars(by_value, execution_options=options)) == {None}
