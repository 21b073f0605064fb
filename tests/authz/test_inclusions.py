"""The walls contain each other: what the policy shows ⊆ what row-level security alone shows = the scope's rows."""

import random
from typing import Any

import pytest
from sqlalchemy import Connection, Select, func, insert, select
from sqlalchemy.exc import ProgrammingError

from authz.actor import Actor
from authz.guard import settings_for
from authz.settings import placed
from domain.encounters import Encounter
from domain.model import Wall
from domain.patients import Patient, PatientSite
from tests import make
from tests.authz.world import World, actor, models, random_grants, world
from tests.database import Database


@pytest.fixture(scope="module")
def worlds(database: Database) -> list[World]:
    """Two health systems, so that there is something foreign to show."""
    made = [world(seed, patients=25) for seed in (61, 62)]
    for each in made:
        make.save(database, *each.all)
    return made


def under(app: Connection, asker: Actor, statement: Select[Any], **more: Any) -> set[Any]:
    """What a statement without any predicate finds as the application under the actor's settings."""
    for name, value in settings_for(asker, **more):
        app.execute(select(func.set_config(name, value, True)))
    return set(app.scalars(statement))


def inside(here: World, asker: Actor, resource: str, row: Any) -> bool:
    """Whether a row lies at a place where the actor reads the resource, whatever the conditions."""
    scope = asker.predicate(resource, "read").scope
    places = here.target(row)[1] if isinstance(row, Patient) else [row]
    return any(scope.covers(p.clinic_id, p.unit_id) for p in places)


def test_row_level_security_alone_shows_the_scope_of_each_table(
    worlds: list[World], app: Connection
) -> None:
    dice = random.Random(1)
    shown = 0
    for _ in range(12):
        here = dice.choice(worlds)
        who = dice.choice(here.people).id
        asker = actor(here.tree, *random_grants(dice, here.tree), person_id=who)
        for resource in placed(asker.policy):
            model: Any = models()[resource]
            if model.__wall__ is Wall.TENANT:
                continue  # hours are no patient's: placed for the policy, not for the wall
            found = under(app, asker, select(model.id))
            predicate = asker.predicate(resource, "read")
            allowed = {r.id for r in here.of(model) if predicate.allows(here.target(r))}
            assert found == {r.id for r in here.of(model) if inside(here, asker, resource, r)}
            assert allowed <= found
            shown += len(found)
    assert shown > 100


def test_sites_show_as_their_places(worlds: list[World], app: Connection) -> None:
    here = worlds[0]
    asker = actor(here.tree, ("nurse", here.made.clinics[0].id))
    found = under(app, asker, select(PatientSite.unit_id).distinct())

    assert found == {
        s.unit_id for s in here.of(PatientSite) if s.clinic_id == here.made.clinics[0].id
    }


def test_a_resource_that_is_not_named_stays_closed(worlds: list[World], app: Connection) -> None:
    here = worlds[0]
    asker = actor(here.tree, ("system_admin", here.tree.root))

    assert under(app, asker, select(Encounter.id), resources=["patient"]) == set()
    assert under(app, asker, select(Encounter.id), resources=["encounter"])


@pytest.mark.parametrize("permission", ["encounter:start", "appointment:book", "encounter:finish"])
def test_writes_are_taken_where_the_permission_holds(
    worlds: list[World], app: Connection, permission: str
) -> None:
    here = worlds[0]
    clinic, other = here.made.clinics[:2]
    sites = {s.unit_id: s.patient_id for s in here.of(PatientSite) if s.sensitivity == 0}
    patients = {p.id: p for p in here.of(Patient)}
    asker = actor(here.tree, ("provider", clinic.id), ("nurse", other.id))
    may = asker.predicate(*permission.split(":")).scope
    for node in (clinic, other):
        visit = make.encounter(patients[sites[node.id]], node)
        row = {c.key: getattr(visit, c.key) for c in Encounter.__table__.columns}
        row = {name: value for name, value in row.items() if value is not None}
        row.pop("version", None)
        with app.begin_nested() as attempt:
            under(app, asker, select(Encounter.id), write={"encounter": [permission]})
            statement = insert(Encounter).values(row)
            if may.covers(node.clinic_id, node.id):
                app.execute(statement)
            else:
                with pytest.raises(ProgrammingError):
                    app.execute(statement)
            attempt.rollback()
