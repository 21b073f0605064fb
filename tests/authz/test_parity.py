"""The compiled predicates decide as Oso itself does on the same policies: 10,000 decisions, none differs.

Oso answers in milliseconds, so each question is one that can go either way: rows and actors of one health system,
the actor's nodes near the row's place half of the time, foreign rows now and then.
"""

import random
from collections.abc import Iterator
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import inspect

from authz.actor import Actor
from authz.policy import Engine, PatientSite, Row, Unit, User
from authz.templates import VARIANTS, Variant, sources
from authz.tree import Tree
from domain import patients
from domain.billing import Posting
from domain.encounters import Encounter
from domain.model import Base
from tests.authz.world import ROLES, World, actor, models, world

pytestmark = pytest.mark.slow
DECISIONS = 10_000
ANYWHERE = "below every node"


@cache
def worlds() -> tuple[World, ...]:
    """Rows in memory only; no database is asked."""
    return tuple(world(seed, patients=25) for seed in (21, 22))


@cache
def subjects() -> dict[str, type[Base]]:
    """Every resource with the model whose rows are asked about; those without a table borrow one."""
    found = models() | {"payment": Posting, "break_glass": Encounter}
    return dict(sorted(found.items()))


class Judge:
    """Oso with one variant of the policies, over the rows of the worlds."""

    def __init__(self, variant: Variant) -> None:
        self.home: dict[str, tuple[str, ...]] = {}
        self.engine = Engine(sources(variant), self.unit, self.sites)
        self.classes = {s.resource: s.cls for s in self.engine.subjects.values()}

    def unit(self, key: str) -> Unit:
        """A place and the nodes above it; `ANYWHERE:tenant` lies below all of that health system."""
        if key in self.home:
            return Unit(id=key, ancestor_ids=list(self.home[key]))
        for here in worlds():
            if key == f"{ANYWHERE}:{here.tenant_id}":
                return Unit(id=key, ancestor_ids=[str(u) for u in here.tree.units])
            if UUID(key[-36:]) in here.tree:
                above = here.tree.ancestors(UUID(key))
                return Unit(id=key, ancestor_ids=[str(u) for u in above])
        raise KeyError(key)

    def sites(self, key: str) -> list[PatientSite]:
        return [
            PatientSite(patient_id=key, unit_id=str(site.unit_id))
            for here in worlds()
            for site in here.of(patients.PatientSite)
            if str(site.patient_id) == key
        ]

    def row(self, here: World, resource: str, row: Any) -> Row:
        """The row as Polar sees it."""
        values = {c.key: _plain(getattr(row, c.key)) for c in inspect(type(row)).column_attrs}
        values["everywhere_id"] = f"{ANYWHERE}:{row.tenant_id}"
        if resource == "org_unit":
            values["parent_id"] = values["parent_id"] or self.nowhere(here)
        if resource in ("grant", "reminder_rule"):
            values["node_id"] = values["unit_id"]
        if resource in ("person", "practitioner"):
            values["home_id"] = self.home_of(here, row)
        return self.classes[resource](**values)

    def nowhere(self, here: World) -> str:
        """The place above a root: below no node."""
        key = f"nowhere:{here.tenant_id}"
        self.home[key] = ()
        return key

    def home_of(self, here: World, row: Any) -> str:
        """A place below exactly the nodes that all grants of a person, or places of a practitioner, lie below."""
        key = f"home:{row.id}"
        _, homes = here.target(row)
        held = [
            set(here.tree.ancestors(home.unit_id)) for home in homes if home.valid_until is None
        ]
        above = set.intersection(*held) if held else {here.tree.root}
        self.home[key] = tuple(str(u) for u in above)
        return key

    def allows(self, asker: Actor, action: str, row: Row) -> bool:
        held: dict[str, list[str]] = {}
        for grant in asker.grants:
            held.setdefault(grant.role, []).append(str(grant.unit_id))
        return self.engine.allowed(User(str(asker.person_id), held), action, row)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def questions(dice: random.Random, variant: Variant, count: int) -> Iterator[tuple[Any, ...]]:
    """An actor, a permission with a model, and a row."""
    while count:
        here = dice.choice(worlds())
        place = dice.choice(worlds()) if dice.random() < 0.1 else here
        resource = "patient" if dice.random() < 0.2 else dice.choice(list(subjects()))
        model = subjects()[resource]
        row = dice.choice(place.of(model))
        held = [
            (dice.choice(ROLES), _near(dice, here.tree, row)) for _ in range(dice.randint(1, 3))
        ]
        asker = actor(here.tree, *held, person_id=dice.choice(here.people).id, variant=variant)
        names = [p for p in sorted(asker.policy.permissions) if p.startswith(f"{resource}:")]
        for name in dice.sample(names, min(len(names), 3, count)):
            count -= 1
            yield asker, place, resource, name.split(":")[1], row


def _near(dice: random.Random, tree: Tree, row: Any) -> UUID:
    """A node above the row's place, or any."""
    unit: UUID = getattr(row, "unit_id", tree.tenant_id)
    if unit in tree and dice.random() < 0.6:
        return dice.choice(tree.ancestors(unit))
    return dice.choice(list(tree.units))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_compiled_predicates_decide_as_oso_does(variant: Variant) -> None:
    judge = Judge(variant)
    dice = random.Random(variant.name)
    allowed = 0
    differing = []
    for asker, place, resource, action, row in questions(dice, variant, DECISIONS // 4):
        mine = asker.predicate(resource, action).allows(place.target(row))
        theirs = judge.allows(asker, action, judge.row(place, resource, row))
        allowed += theirs
        if mine != theirs:
            differing.append((resource, action, [(g.role, g.unit_id) for g in asker.grants], mine))
    assert differing == []
    assert allowed > DECISIONS // 4 // 8
