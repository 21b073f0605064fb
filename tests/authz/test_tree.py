"""The tree in memory, and scopes as sets of its places."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from authz.scope import EVERYWHERE, NOWHERE, Scope, nodes_of, places_of, union
from authz.tree import Tree, TreeError
from tests import make
from tests.authz.world import tree_of

MADE = make.tree(regions=2, clinics=4, departments=2)
TREE = tree_of(MADE)
REGION, BESIDE = MADE.regions
CLINIC, LAST = MADE.clinics[0], MADE.clinics[3]
WARD, OTHER_WARD = MADE.departments[0]
REGION_CLINICS = tuple(sorted(c.id for c in MADE.clinics if c.parent_id == REGION.id))


def clinic_of(unit: UUID) -> UUID | None:
    return TREE.units[unit].clinic_id


def test_ancestors_go_from_the_unit_to_the_root() -> None:
    assert TREE.ancestors(WARD.id) == (WARD.id, CLINIC.id, REGION.id, TREE.root)
    assert TREE.ancestors(TREE.root) == (TREE.root,)
    assert TREE.ancestors(uuid4()) == ()


def test_what_lies_under_a_node() -> None:
    assert set(TREE.clinics_under(REGION.id)) == set(REGION_CLINICS)
    assert TREE.clinics_under(CLINIC.id) == (CLINIC.id,)
    assert TREE.clinics_under(WARD.id) == ()
    assert set(TREE.departments_of(CLINIC.id)) == {WARD.id, OTHER_WARD.id}
    assert set(TREE.nodes_under(TREE.root)) == set(TREE.units)
    assert TREE.nodes_under(uuid4()) == ()


def test_below_includes_the_node_itself() -> None:
    assert TREE.is_below(WARD.id, WARD.id)
    assert TREE.is_below(WARD.id, TREE.root)
    assert not TREE.is_below(CLINIC.id, WARD.id)
    assert not TREE.is_below(WARD.id, BESIDE.id)


def unit(level: str, parent: UUID | None = None, key: UUID | None = None) -> Any:
    return SimpleNamespace(
        id=key or uuid4(),
        parent_id=parent,
        level=level,
        clinic_id=None,
        name=level,
        zone=None,
        active=True,
    )


def broken() -> dict[str, list[Any]]:
    root = unit("system")
    one, two = uuid4(), uuid4()
    return {
        "no root": [unit("region", uuid4())],
        "two roots": [root, unit("system")],
        "unknown parent": [root, unit("clinic", uuid4())],
        "no parent": [root, unit("clinic")],
        "level out of order": [root, (c := unit("clinic", root.id)), unit("region", c.id)],
        "same level": [root, (c := unit("clinic", root.id)), unit("clinic", c.id)],
        "cycle": [root, unit("clinic", two, one), unit("clinic", one, two)],
    }


@pytest.mark.parametrize("case", broken())
def test_rows_that_are_no_tree_are_refused(case: str) -> None:
    with pytest.raises(TreeError):
        Tree.build(uuid4(), 1, broken()[case])


def test_layers_may_be_missing() -> None:
    root = unit("system")
    clinic = unit("clinic", root.id)
    tree = Tree.build(uuid4(), 1, [root, clinic])

    assert tree.clinics_under(root.id) == (clinic.id,)


def test_places_of_nodes() -> None:
    assert places_of(TREE, [TREE.root, WARD.id]) == EVERYWHERE
    assert places_of(TREE, [REGION.id]) == Scope(False, REGION_CLINICS)
    assert places_of(TREE, [WARD.id]) == Scope(False, (), (WARD.id,))
    assert places_of(TREE, [WARD.id, CLINIC.id]) == Scope(False, (CLINIC.id,))
    assert places_of(TREE, [WARD.id, LAST.id]) == Scope(False, (LAST.id,), (WARD.id,))
    assert places_of(TREE, [REGION.id, BESIDE.id]) == EVERYWHERE
    assert places_of(TREE, [uuid4()]) == NOWHERE
    assert places_of(TREE, []) == NOWHERE


def test_nodes_of_nodes() -> None:
    assert nodes_of(TREE, [TREE.root]) == EVERYWHERE
    assert set(nodes_of(TREE, [CLINIC.id]).units) == {CLINIC.id, WARD.id, OTHER_WARD.id}
    assert nodes_of(TREE, [uuid4()]) == NOWHERE


def test_a_small_system_without_clinics_grants_nothing_below_the_root() -> None:
    root = unit("system")
    region = unit("region", root.id)
    tree = Tree.build(uuid4(), 1, [root, region])

    assert places_of(tree, [region.id]) == NOWHERE


def test_covering() -> None:
    scope = Scope(False, (CLINIC.id,), (MADE.departments[3][0].id,))

    assert scope.covers(CLINIC.id, WARD.id)
    assert scope.covers(LAST.id, MADE.departments[3][0].id)
    assert not scope.covers(LAST.id, LAST.id)
    assert not NOWHERE.covers(CLINIC.id, WARD.id)
    assert EVERYWHERE.covers(None, None)
    assert not scope.covers(None, None)


def test_including() -> None:
    clinic, ward = Scope(False, (CLINIC.id,)), Scope(False, (), (WARD.id,))

    assert EVERYWHERE.includes(clinic, TREE)
    assert clinic.includes(NOWHERE, TREE)
    assert clinic.includes(ward, TREE)
    assert not ward.includes(clinic, TREE)
    assert not clinic.includes(EVERYWHERE, TREE)
    assert not clinic.includes(Scope(False, (), (uuid4(),)), TREE)
    assert ward.includes(ward, TREE)


def test_within_a_node() -> None:
    region = places_of(TREE, [REGION.id])
    wards = places_of(TREE, [WARD.id, LAST.id])

    assert region.within(TREE, TREE.root) == region
    assert region.within(TREE, CLINIC.id) == Scope(False, (CLINIC.id,))
    assert region.within(TREE, WARD.id) == Scope(False, (), (WARD.id,))
    assert region.within(TREE, BESIDE.id).empty
    assert region.within(TREE, uuid4()) == NOWHERE
    assert EVERYWHERE.within(TREE, BESIDE.id).clinics == TREE.clinics_under(BESIDE.id)
    assert wards.within(TREE, CLINIC.id) == Scope(False, (), (WARD.id,))
    assert wards.within(TREE, OTHER_WARD.id) == NOWHERE
    assert wards.within(TREE, BESIDE.id) == Scope(False, (LAST.id,))


def test_a_setting_holds_every_place() -> None:
    assert EVERYWHERE.literal() == "*"
    assert NOWHERE.literal() == "{}"
    assert Scope(False, (CLINIC.id,), (WARD.id,)).literal() == f"{{{CLINIC.id},{WARD.id}}}"


def test_union() -> None:
    clinic, ward = Scope(False, (CLINIC.id,)), Scope(False, (), (WARD.id,))

    assert union([clinic, ward], clinic_of) == clinic
    assert union([ward, EVERYWHERE], clinic_of) == EVERYWHERE
    assert union([], clinic_of) == NOWHERE
    last = Scope(False, (LAST.id,))
    assert union([ward, last], clinic_of) == Scope(False, (LAST.id,), (WARD.id,))


def test_shapes_tell_none_one_and_several_apart() -> None:
    one, two, three = (places_of(TREE, [c.id for c in MADE.clinics[:n]]) for n in (1, 2, 3))

    assert one.shape != two.shape == three.shape
    assert len({s.shape for s in (NOWHERE, EVERYWHERE, one, two)}) == 4
