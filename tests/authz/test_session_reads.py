"""Every way of the ORM to a row carries the policy; what would slip past it is refused."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import (
    DDL,
    column,
    delete,
    exists,
    func,
    insert,
    lateral,
    literal_column,
    select,
    table,
    text,
    true,
    union_all,
    update,
    values,
)
from sqlalchemy import Integer as Whole
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import aliased, make_transient_to_detached
from sqlalchemy.sql.elements import quoted_name

from authz.guard import GuardedSession, Unguarded, guarded_session
from authz.session import _Guarded, grants_at
from authz.statements import models_in
from authz.templates import Variant, load_policy
from domain.appointments import Appointment, AppointmentBlock
from domain.encounters import Encounter
from domain.model import Base
from domain.organization import OrgUnit, Tenant
from domain.patients import Patient, PatientSite
from domain.people import Person, RevokedSession, RoleGrant
from domain.practitioners import Practitioner, ResourceAssignment
from tests import make
from tests.authz.world import World, actor, world
from tests.database import Database

P: Any = Patient.__table__
E: Any = Encounter.__table__
HOUR = dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def here(database: Database) -> World:
    made = world(31)
    make.save(database, *made.all)
    return made


@pytest.fixture
async def nurse(here: World, app_engine: AsyncEngine) -> AsyncIterator[GuardedSession]:
    """A nurse of the first clinic."""
    asker = actor(here.tree, ("nurse", here.made.clinics[0].id), person_id=here.people[0].id)
    async with guarded_session(app_engine, asker) as session:
        yield session


def mine(here: World, session: GuardedSession, model: type[Any]) -> set[uuid.UUID]:
    """What the session's actor reads of a model, judged in Python."""
    predicate = session.actor.predicate(model.__resource__, "read")
    return {row.id for row in here.of(model) if predicate.allows(here.target(row))}


READS: dict[str, Callable[[], Any]] = {
    "entity": lambda: select(Patient.id),
    "alias": lambda: select(aliased(Patient).id),
    "whole rows": lambda: select(Patient),
    "sub-select": lambda: select(select(Patient.id).subquery().c.id),
    "cte": lambda: select(select(Patient.id).cte("known").c.id),
    "lateral": lambda: select(lateral(select(Patient.id)).c.id),
    "in sub-select": lambda: select(Patient.id).where(Patient.id.in_(select(Patient.id))),
    "alias of a sub-select": lambda: select(aliased(Patient, select(Patient).subquery()).id),
    "alias of an alias": lambda: select(aliased(Patient, P.alias()).id),
    "join with values": lambda: select(Patient.id).join(
        values(column("n", Whole), name="v").data([(1,)]), true()
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("way", READS)
async def test_each_way_shows_what_the_actor_reads(
    here: World, nurse: GuardedSession, way: str
) -> None:
    found = {getattr(row, "id", row) for row in await nurse.scalars(READS[way]())}

    assert found == mine(here, nurse, Patient)
    assert 0 < len(found) < len(here.of(Patient))


@pytest.mark.anyio
async def test_joined_entities_each_carry_their_policy(here: World, nurse: GuardedSession) -> None:
    other = aliased(Encounter)
    joined = select(Patient.id, other.id).join(other, other.patient_id == Patient.id)
    rows = (await nurse.execute(joined)).all()

    assert {r[0] for r in rows} <= mine(here, nurse, Patient)
    assert {r[1] for r in rows} == mine(here, nurse, Encounter)


@pytest.mark.anyio
async def test_actors_of_one_shape_share_the_statement_and_not_the_rows(
    here: World, app_engine: AsyncEngine
) -> None:
    shapes, seen = set(), []
    for clinic in here.made.clinics:
        asker = actor(here.tree, ("nurse", clinic.id))
        shapes.add(asker.shape)
        async with guarded_session(app_engine, asker) as session:
            row = aliased(Patient)
            found = set(await session.scalars(select(row.id)))
            assert found == mine(here, session, Patient)
            seen.append(frozenset(found))

    assert len(shapes) == 1
    assert len(set(seen)) == len(here.made.clinics)


@pytest.mark.anyio
async def test_counts_exists_and_unions_see_no_more(here: World, nurse: GuardedSession) -> None:
    patients, visits = mine(here, nurse, Patient), mine(here, nurse, Encounter)
    foreign = next(e for e in here.of(Encounter) if e.id not in visits)

    assert await nurse.scalar(select(func.count()).select_from(Patient)) == len(patients)
    counted = select(select(func.count(Encounter.id)).scalar_subquery())
    assert await nurse.scalar(counted) == len(visits)
    both = (await nurse.execute(union_all(select(Encounter.id), select(Patient.id)))).all()
    assert len(both) == len(patients) + len(visits)
    there = exists().where(Encounter.id == foreign.id)
    assert await nurse.scalar(select(func.count()).select_from(Patient).where(there)) == 0


@pytest.mark.anyio
async def test_get_answers_none_for_what_is_not_yours(here: World, nurse: GuardedSession) -> None:
    seen = mine(here, nurse, Patient)
    for patient in here.of(Patient)[:12]:
        key = {"tenant_id": here.tenant_id, "id": patient.id}
        found = await nurse.get(Patient, key)
        assert (found is not None) == (patient.id in seen)


@pytest.mark.anyio
async def test_refresh_and_merge_reach_nothing_else(here: World, nurse: GuardedSession) -> None:
    seen = mine(here, nurse, Patient)
    hidden = next(p.id for p in here.of(Patient) if p.id not in seen)
    shown = await nurse.get(Patient, {"tenant_id": here.tenant_id, "id": next(iter(seen))})
    await nurse.refresh(shown)
    forged = Patient(tenant_id=here.tenant_id, id=hidden)
    make_transient_to_detached(forged)
    with pytest.raises(Unguarded):
        nurse.add(forged)
    merged = await nurse.merge(Patient(tenant_id=here.tenant_id, id=hidden))
    assert merged.mrn is None
    nurse.expunge_all()


@pytest.mark.anyio
async def test_merging_without_loading_is_refused(here: World, nurse: GuardedSession) -> None:
    forged = Patient(tenant_id=here.tenant_id, id=uuid.uuid4(), mrn="x")
    make_transient_to_detached(forged)
    with pytest.raises(Unguarded):
        await nurse.merge(forged, load=False)
    assert list(nurse) == []


@pytest.mark.anyio
async def test_tenant_tables_show_the_own_health_system(
    here: World, nurse: GuardedSession, database: Database
) -> None:
    foreign = make.tree()
    make.save(database, *foreign.rows, make.person(foreign.tenant))

    assert set(await nurse.scalars(select(OrgUnit.id))) == set(here.tree.units)
    assert set(await nurse.scalars(select(Person.tenant_id))) == {here.tenant_id}
    assert list(await nurse.scalars(select(Tenant.tenant_id))) == [here.tenant_id]
    assert list(await nurse.scalars(select(RevokedSession))) == []
    assert set(await nurse.scalars(select(RoleGrant.person_id))) <= {nurse.actor.person_id}


REFUSED: dict[str, Callable[[], Any]] = {
    "text": lambda: text("select count(*) from patient"),
    "ddl": lambda: DDL("drop table patient"),  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
    "table": lambda: select(P),
    "count of a table": lambda: select(func.count()).select_from(P),
    "table in exists": lambda: select(Patient.id).where(
        exists(select(1).select_from(E).where(E.c.patient_id == P.c.id))
    ),
    "text as entities": lambda: select(Patient).from_statement(text("select * from patient")),
    "table beside an entity": lambda: select(Patient.id, E.c.clinic_id).join(E, true()),
    "own table's alias": lambda: select(Patient.id).join(P.alias("z"), true()),
    "alias of a table": lambda: select(P.alias().c.id),
    "literal column": lambda: select(literal_column("(select 1)")).select_from(Patient),
    "table by name": lambda: select(table("patient", column("id"))),
    "table by name and column": lambda: select(column("id")).select_from(table("patient")),
    "text condition": lambda: select(Patient).where(text("1 = 1")),
    "text order": lambda: select(Patient).order_by(text("(select 1)")),
    "text operator": lambda: select(Patient).where(Patient.mrn.op("= 'x' or true or mrn =")("y")),
    "prefix": lambda: select(Patient).prefix_with("/* */ distinct"),
    "suffix": lambda: select(Patient).suffix_with("for update"),
    "hint": lambda: select(Patient).with_hint(Patient, "tablesample"),
    "statement hint": lambda: select(Patient).with_statement_hint("x"),
    "function that runs SQL": lambda: select(func.query_to_xml("select 1", True, True, "")),
    "function that sets": lambda: select(func.set_config("app.scope_patient", "*", True)),
    "sub-select over a table": lambda: select(Patient.id).where(
        Patient.id.in_(select(E.c.patient_id))
    ),
    "lateral over a table": lambda: select(lateral(select(E.c.id)).c.id),
    "cte over a table": lambda: select(E.c.id).cte("q").select(),
    "entity over a core select": lambda: select(aliased(Patient, select(P).subquery())),
    "write in a cte": lambda: select(Patient).add_cte(
        update(Patient).values(given_name="x").cte("w")
    ),
    "name that is not quoted": lambda: select(column(quoted_name("(select 1)", quote=False))),
    "update of a table": lambda: update(P).values(given_name="x"),
    "insert into a table": lambda: insert(P).values(given_name="x"),
    "delete from a table": lambda: delete(E),
}


@pytest.mark.anyio
@pytest.mark.parametrize("way", REFUSED)
async def test_what_slips_past_criteria_is_refused(nurse: GuardedSession, way: str) -> None:
    with pytest.raises(Unguarded):
        await nurse.execute(REFUSED[way]())


@pytest.mark.anyio
async def test_the_bare_connection_and_bulk_writes_are_not_there(nurse: GuardedSession) -> None:
    with pytest.raises(Unguarded):
        await nurse.connection()
    for way in ("bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings"):
        with pytest.raises(Unguarded):
            await nurse.run_sync(lambda s, way=way: getattr(s, way)(Patient, []))  # type: ignore[misc] # the default binds the loop's value


def test_a_session_without_an_actor_is_refused() -> None:
    with pytest.raises(Unguarded):
        _Guarded()


@pytest.mark.anyio
async def test_functions_without_tables_pass(nurse: GuardedSession) -> None:
    assert await nurse.scalar(select(func.length("abc"), literal_column("0"))) == 3
    assert await nurse.scalar(select(func.length("abc")).order_by(text("1"))) == 3


@pytest.mark.anyio
async def test_all_grants_of_a_person_are_there_for_judging(
    here: World, nurse: GuardedSession
) -> None:
    """A person is the actor's to manage only if no grant lies elsewhere: those must be seen to be judged."""
    for person in here.people:
        running = {
            g.id for g in here.of(RoleGrant) if g.person_id == person.id and g.valid_until is None
        }
        assert {g.id for g in await nurse.grants_of(person.id)} == running
    foreign = make.tree()
    stranger = make.person(foreign.tenant)
    assert await nurse.grants_of(stranger.id) == []


@pytest.mark.anyio
async def test_all_assignments_of_a_resource_are_there_for_judging(
    here: World, nurse: GuardedSession
) -> None:
    """Also those at places where the asker has no role."""
    for doctor in here.of(Practitioner):
        placed = {a.unit_id for a in here.of(ResourceAssignment) if a.resource_id == doctor.id}
        found = await nurse._homes("practitioner", doctor.id)
        assert {a.unit_id for a in found} == placed
    assert list(await nurse._homes("practitioner", uuid.uuid4())) == []


@pytest.mark.anyio
async def test_all_grants_at_a_node_are_there_for_judging(
    here: World, nurse: GuardedSession
) -> None:
    """Also those at nodes where the asker may read none."""
    for unit in here.tree.units:
        running = {g.id for g in here.of(RoleGrant) if g.unit_id == unit and g.valid_until is None}
        found = await grants_at(nurse, here.tenant_id, [unit])
        assert {g.id for g in found} == running
    assert await grants_at(nurse, here.tenant_id, []) == []


def test_a_statement_is_walked_once_for_each_shape() -> None:
    one = select(Patient.id).where(Patient.mrn == "a")
    other = select(Patient.id).where(Patient.mrn == "b")

    assert models_in(one) is models_in(other)


@pytest.mark.anyio
async def test_the_settings_are_the_actors(here: World, nurse: GuardedSession) -> None:
    clinic = here.made.clinics[0].id

    assert await nurse.scalar(select(func.current_setting("app.tenant"))) == str(here.tenant_id)
    assert await nurse.scalar(select(func.current_setting("app.scope_patient"))) == (
        "{" + str(clinic) + "}"
    )
    assert await nurse.scalar(select(func.current_setting("app.scope_invoice"))) == "{}"
    assert not await nurse.scalar(select(func.current_setting("app.write_patient", True)))


@pytest.mark.anyio
async def test_without_grants_nothing_shows(here: World, app_engine: AsyncEngine) -> None:
    async with guarded_session(app_engine, actor(here.tree)) as session:
        for model in (Patient, Encounter, OrgUnit, Person, PatientSite):
            assert list(await session.scalars(select(model))) == []


@pytest.mark.anyio
async def test_a_part_is_read_with_its_whole(
    database: Database, here: World, app_engine: AsyncEngine
) -> None:
    """Time that a visit keeps says nothing of how restricted its patient is: the visit does."""
    made: list[tuple[Patient, list[Base], Appointment]] = []
    clinic = here.made.clinics[0]
    doctor = make.practitioner(here.made.tenant)
    for sensitivity, node in ((0, clinic), (1, clinic), (0, here.made.clinics[1])):
        patient, *sites = make.patient_at(here.made.tenant, node, sensitivity=sensitivity)
        assert isinstance(patient, Patient)
        visit = make.appointment(patient, node, doctor, starts_at=make.NOW + len(made) * HOUR)
        made.append((patient, sites, visit))
    rows = [row for patient, sites, visit in made for row in (patient, *sites, visit)]
    make.save(database, doctor, make.bookable(doctor), *rows)
    make.save(database, *(make.block(visit) for _, _, visit in made))
    asker = actor(here.tree, ("nurse", clinic.id), person_id=here.people[0].id)
    async with guarded_session(app_engine, asker) as session:
        of_doctor = AppointmentBlock.resource_id == doctor.id
        seen = await session.scalars(select(AppointmentBlock.appointment_id).where(of_doctor))
        assert seen.all() == [made[0][2].id]
        block = aliased(AppointmentBlock)
        seen = await session.scalars(
            select(block.appointment_id).where(block.resource_id == doctor.id)
        )
        assert seen.all() == [made[0][2].id]


def test_what_lacks_a_column_that_decides_names_its_whole() -> None:
    """Else a guarded session would show nothing of it, in silence."""
    found = set()
    for mapper in Base.registry.mappers:
        model = mapper.class_
        template = load_policy(Variant()).permissions.get(f"{model.__resource__}:read")
        if template is not None:
            asked = {c.field for held in template.roles.values() for r in held for c in r}
            if not asked <= set(mapper.column_attrs.keys()):
                found.add(model)
    assert found == {m.class_ for m in Base.registry.mappers if m.class_.__whole__}
