"""A predicate as SQL shows the very rows that it allows in Python."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Connection, Dialect, bindparam, select, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from authz.scope import Predicate
from authz.templates import VARIANTS
from domain.patients import Patient, PatientSite
from tests import make
from tests.authz.world import World, actor, models, random_grants, world
from tests.database import Database

PREDICATES = 400
DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped


def values(predicate: Predicate) -> Callable[..., ColumnElement[Any]]:
    """A binder that binds the predicate's own values."""

    def bind(
        name: str, getter: Callable[[Predicate], Any], type_: TypeEngine[Any]
    ) -> ColumnElement[Any]:
        return bindparam(name, getter(predicate), type_, unique=True)

    return bind


KEYS = {"tenant": "tenant_id", "assignment": "resource_id"}
"""Resource -> the column that names its rows, where it is not `id`."""


@pytest.fixture(scope="module")
def worlds(database: Database) -> list[World]:
    """Two health systems in the database."""
    made = [world(seed) for seed in (1, 2)]
    for each in made:
        make.save(database, *each.all)
    return made


@pytest.fixture(scope="module")
def owner_sees_all(database: Database) -> Iterator[Connection]:
    with database.owner_engine.connect() as connection:
        yield connection


def test_sql_and_python_allow_the_same_rows(
    worlds: list[World], owner_sees_all: Connection
) -> None:
    dice = random.Random(7)
    asked = differing = allowed = 0
    while asked < PREDICATES:
        here = dice.choice(worlds)
        who = dice.choice(here.people)
        asker = actor(
            here.tree,
            *random_grants(dice, here.tree),
            person_id=who.id,
            variant=dice.choice(VARIANTS),
        )
        for permission in dice.sample(sorted(asker.policy.permissions), 8):
            resource, action = permission.split(":")
            model: Any = models().get(resource)
            if model is None:
                continue
            predicate = asker.predicate(resource, action)
            row = aliased(model) if dice.random() < 0.5 else model
            key = KEYS.get(resource, "id")
            found = set(
                owner_sees_all.scalars(
                    select(getattr(row, key)).where(predicate.sql(row, values(predicate)))
                )
            )
            wanted = {
                getattr(r, key)
                for w in worlds
                for r in w.of(model)
                if predicate.allows(w.target(r))
            }
            asked += 1
            differing += found != wanted
            allowed += len(wanted)
    assert differing == 0
    assert allowed > PREDICATES


def test_sites_are_tested_directly(worlds: list[World], owner_sees_all: Connection) -> None:
    dice = random.Random(11)
    for _ in range(60):
        here = dice.choice(worlds)
        asker = actor(here.tree, *random_grants(dice, here.tree))
        predicate = asker.predicate("patient", "read")
        site = aliased(PatientSite)
        found = set(
            owner_sees_all.scalars(
                select(site.patient_id).where(predicate.sql(site, values(predicate)))
            )
        )
        wanted = {p.id for p in here.of(Patient) if predicate.allows(here.target(p))}
        assert found == wanted


def test_patients_are_tested_by_the_sites_that_were_found(
    worlds: list[World], owner_sees_all: Connection
) -> None:
    """By a department's where clinics are granted, too; patients without one of them are shown to nobody."""
    dice = random.Random(13)
    shown = 0
    for _ in range(60):
        here = dice.choice(worlds)
        asker = actor(here.tree, *random_grants(dice, here.tree))
        predicate = asker.predicate("patient", "read")
        at = dice.choice(here.of(PatientSite)).unit_id
        sites = select(PatientSite).where(PatientSite.unit_id == at).cte("sites")
        patient = aliased(Patient)
        asked = select(patient.id).where(predicate.sql(patient, values(predicate), sites))
        wanted = {
            row.id
            for row, all_sites in map(here.target, here.of(Patient))
            if predicate.allows((row, [site for site in all_sites if site.unit_id == at]))
        }
        assert set(owner_sees_all.scalars(asked)) == wanted
        shown += 0 < len(wanted) < len(here.of(Patient))
    assert shown > 10


def test_the_text_depends_on_the_shape_alone(worlds: list[World]) -> None:
    """Actors of one shape share a statement: other values, the same words."""
    dice = random.Random(3)
    texts: dict[Any, set[str]] = {}
    for _ in range(300):
        here = dice.choice(worlds)
        asker = actor(here.tree, *random_grants(dice, here.tree))
        for resource, action in (("patient", "read"), ("note", "read"), ("grant", "give")):
            predicate = asker.predicate(resource, action)
            statement = select(true()).where(predicate.sql(models()[resource], _named))
            text = str(statement.compile(dialect=DIALECT))
            texts.setdefault(predicate.shape, set()).add(text)
    assert len(texts) > 10
    assert all(len(several) == 1 for several in texts.values())


def _named(
    name: str, getter: Callable[[Predicate], Any], type_: TypeEngine[Any]
) -> ColumnElement[Any]:
    return bindparam(name, None, type_)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("root", "encounter.tenant_id = %(tenant)s::UUID"),
        ("clinic", "encounter.clinic_id = %(clinics_0_one)s::UUID"),
        ("clinics", "encounter.clinic_id = ANY (%(clinics_0)s::UUID[])"),
        ("ward", "encounter.unit_id = %(units_0_one)s::UUID"),
    ],
)
def test_the_measured_forms(worlds: list[World], held: str, wanted: str) -> None:
    made = worlds[0].made
    nodes = {
        "root": [made.root],
        "clinic": made.clinics[:1],
        "clinics": made.clinics[:2],
        "ward": made.departments[0][:1],
    }[held]
    asker = actor(worlds[0].tree, *(("nurse", node.id) for node in nodes))
    sql = asker.predicate("encounter", "read").sql(models()["encounter"], _named)
    text = str(sql.compile(dialect=DIALECT))

    assert wanted in text
    assert text.startswith("encounter.tenant_id = %(tenant)s::UUID")
    assert ("clinic_id" in text) == (held in ("clinic", "clinics"))
