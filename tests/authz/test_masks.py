"""What is known of a mask before any row is read holds for every row; so does a part of a predicate."""

import random
from functools import cache
from typing import Any

from authz.actor import Actor
from authz.masks import GROUPS, Shown
from authz.templates import VARIANTS
from domain.patients import Patient
from tests.authz.world import World, actor, models, random_grants, world


@cache
def here() -> World:
    """Rows in memory only."""
    return world(71, patients=30)


def actors(dice: random.Random, count: int) -> list[Actor]:
    made = here()
    return [
        actor(
            made.tree,
            *random_grants(dice, made.tree),
            person_id=dice.choice(made.people).id,
            variant=dice.choice(VARIANTS),
        )
        for _ in range(count)
    ]


def test_a_mask_tells_the_truth_of_every_row() -> None:
    told = dict.fromkeys(Shown, 0)
    for asker in actors(random.Random(1), 60):
        for resource, model in models().items():
            visible = asker.predicate(resource, "read")
            rows: list[Any] = [
                here().target(r) for r in here().of(model) if visible.allows(here().target(r))
            ]
            for action in sorted({*GROUPS.values(), "manage"} - {"read"}):
                if f"{resource}:{action}" not in asker.policy.permissions:
                    continue
                mask = asker.mask(resource, action)
                told[mask.kind] += 1
                seen = {mask.predicate.allows(row) for row in rows}
                if mask.kind is Shown.ALWAYS:
                    assert False not in seen
                if mask.kind is Shown.NEVER:
                    assert True not in seen
    assert all(count > 20 for count in told.values())


def test_a_part_of_a_predicate_is_that_part() -> None:
    tree = here().tree
    for asker in actors(random.Random(2), 25):
        for resource in ("patient", "encounter", "note", "invoice"):
            predicate = asker.predicate(resource, "read")
            for node in tree.units:
                part = predicate.within(node)
                for row in here().of(models()[resource])[::5]:
                    target = here().target(row)
                    sites = target[1] if isinstance(row, Patient) else [row]
                    below = [s for s in sites if tree.is_below(s.unit_id, node)]
                    asked = (row, below) if isinstance(row, Patient) else row
                    wanted = bool(below) and predicate.allows(asked)
                    assert part.allows(target) == wanted


def test_actors_of_one_shape_have_the_same_masks_and_texts() -> None:
    """A plan that was compiled for one of them serves the other."""
    seen: dict[Any, Any] = {}
    for asker in actors(random.Random(3), 400):
        shapes = []
        for name in sorted(asker.policy.permissions):
            resource, action = name.split(":")
            shapes.append(asker.predicate(resource, action).shape)
            if f"{resource}:read" in asker.policy.permissions:
                shapes.append(asker.mask(resource, action).kind)
        assert seen.setdefault(asker.shape, shapes) == shapes
    assert len(seen) < 400
