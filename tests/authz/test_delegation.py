"""Who may give and take which role where, line by line of "May grant"."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from authz.actor import Actor
from authz.delegation import CONFLICTS, RANKS, SECOND_APPROVAL, meet, outranked
from authz.grants import LOWEST, OF_LINKS
from authz.guard import Forbidden, NotFound, Reason, require
from authz.templates import VARIANTS
from domain.model import new_id
from domain.people import Role
from tests import make
from tests.authz.world import NOW, actor, tree_of

MADE = make.tree(regions=2, clinics=4)
TREE = tree_of(MADE)
HOME, AWAY = MADE.regions
CLINIC, OTHER = MADE.clinics[0], MADE.clinics[2]  # both of the first region
FAR = MADE.clinics[1]
WARD = MADE.departments[0][0]
CARE = ("provider", "nurse", "front_desk", "biller")
WATCHERS = ("privacy_officer", "auditor", "system_viewer")


def proposal(role: str, node: Any) -> Any:
    """A grant about to be given to somebody, or one that is held."""
    return SimpleNamespace(tenant_id=TREE.tenant_id, person_id=new_id(), role=role, unit_id=node.id)


def answer(asker: Actor, permission: str, role: str, node: Any) -> Reason | str | None:
    """None where it may be done, else why not."""
    try:
        require(asker, permission, proposal(role, node))
    except NotFound:
        return "NOT_FOUND"
    except Forbidden as refused:
        return refused.reason
    return None


NOT_YOURS, NO_ROLE = Reason.ROLE_NOT_YOURS_TO_GIVE, Reason.NO_ROLE
CASES = [
    *((("clinic_admin", CLINIC), role, CLINIC, None) for role in CARE),
    *((("clinic_admin", CLINIC), role, WARD, None) for role in CARE),
    *((("clinic_admin", CLINIC), role, CLINIC, NOT_YOURS) for role in ("clinic_admin", *WATCHERS)),
    (("clinic_admin", CLINIC), "system_admin", CLINIC, NOT_YOURS),
    (("clinic_admin", CLINIC), "nurse", HOME, "NOT_FOUND"),
    (("clinic_admin", CLINIC), "nurse", OTHER, "NOT_FOUND"),
    *((("regional_director", HOME), role, OTHER, None) for role in ("clinic_admin", *CARE)),
    *((("regional_director", HOME), role, HOME, None) for role in ("clinic_admin", *CARE)),
    (("regional_director", HOME), "regional_director", HOME, NOT_YOURS),
    (("regional_director", HOME), "nurse", FAR, "NOT_FOUND"),
    (("regional_director", HOME), "nurse", AWAY, "NOT_FOUND"),
    *((("system_admin", MADE.root), role, MADE.root, None) for role in ("system_admin", *WATCHERS)),
    (("system_admin", MADE.root), "regional_director", AWAY, None),
    (("system_admin", MADE.root), "clinic_admin", WARD, None),
    *((("privacy_officer", MADE.root), role, CLINIC, NO_ROLE) for role in CARE),
    *((("auditor", MADE.root), role, CLINIC, NO_ROLE) for role in CARE),
    *(((role, CLINIC), "nurse", CLINIC, "NOT_FOUND") for role in CARE),
    (("system_viewer", MADE.root), "nurse", CLINIC, "NOT_FOUND"),
]


def told(part: Any) -> str:
    """A name for a part of a case, the same in every run."""
    if isinstance(part, tuple):
        return f"{part[0]}@{part[1].name}"
    return str(getattr(part, "name", part))


@pytest.mark.parametrize("variant", VARIANTS, ids=told)
@pytest.mark.parametrize(("holder", "role", "node", "wanted"), CASES, ids=told)
def test_who_may_give_what_where(
    holder: tuple[str, Any], role: str, node: Any, wanted: Any, variant: Any
) -> None:
    giver = actor(TREE, (holder[0], holder[1].id), variant=variant)

    assert answer(giver, "grant:give", role, node) == wanted


def test_the_giving_grant_is_told() -> None:
    giver = actor(TREE, ("nurse", CLINIC.id), ("clinic_admin", CLINIC.id))
    by = require(giver, "grant:give", proposal("nurse", CLINIC))

    assert by is not None
    assert by.role == "clinic_admin"


PAIRS = [
    ("auditor", "system_admin", True),
    ("auditor", "clinic_admin", True),
    ("privacy_officer", "regional_director", True),
    ("clinic_admin", "privacy_officer", True),
    ("biller", "auditor", True),
    ("biller", "clinic_admin", False),
    ("biller", "privacy_officer", False),
    ("auditor", "privacy_officer", False),
    ("system_viewer", "auditor", False),
    ("nurse", "auditor", False),
]


@pytest.mark.parametrize(("role", "held", "meets"), PAIRS, ids=told)
def test_duties_that_must_not_meet(role: str, held: str, meets: bool) -> None:
    assert (frozenset({role, held}) in CONFLICTS) is meets


DAY = dt.timedelta(days=1)
PERIODS = [
    ((NOW, None), (NOW, None), True),
    ((NOW, None), (NOW - DAY, NOW), False),
    ((NOW, NOW + DAY), (NOW + DAY, None), False),
    ((NOW, NOW + DAY), (NOW, None), True),
    ((NOW, None), (NOW + DAY, None), True),
    ((NOW - DAY, NOW + DAY), (NOW, NOW), False),
    ((NOW - DAY, NOW + DAY), (NOW, NOW + 2 * DAY), True),
]


@pytest.mark.parametrize(("one", "other", "together"), PERIODS, ids=lambda _: "")
def test_duties_may_follow_each_other(one: Any, other: Any, together: bool) -> None:
    assert meet(one, other) is meet(other, one) is together


REVOKED = [
    (("clinic_admin", CLINIC), "nurse", WARD, None),
    (("clinic_admin", CLINIC), "clinic_admin", CLINIC, NOT_YOURS),
    (("regional_director", HOME), "clinic_admin", CLINIC, None),
    (("privacy_officer", MADE.root), "system_admin", MADE.root, None),
    (("privacy_officer", MADE.root), "nurse", WARD, None),
    (("auditor", MADE.root), "nurse", WARD, NO_ROLE),
    (("nurse", CLINIC), "nurse", CLINIC, "NOT_FOUND"),
]


@pytest.mark.parametrize(("holder", "role", "node", "wanted"), REVOKED, ids=told)
def test_who_may_take_what(holder: tuple[str, Any], role: str, node: Any, wanted: Any) -> None:
    taker = actor(TREE, (holder[0], holder[1].id))

    assert answer(taker, "grant:revoke", role, node) == wanted


def test_the_roles_of_a_second_approval() -> None:
    assert {"system_admin", "privacy_officer", "auditor"} == SECOND_APPROVAL


def test_which_role_stands_above_which() -> None:
    links = (
        OF_LINKS - RANKS.keys()
    )  # as high as any: administrators below the highest leave them alone
    assert set(RANKS) | set(WATCHERS) | links == set(LOWEST) == set(Role)
    asker = actor(TREE, ("regional_director", HOME.id), ("clinic_admin", MADE.root.id))

    def above(role: str, node: Any) -> bool:
        return outranked(asker, [proposal("nurse", CLINIC), proposal(role, node)])

    assert not any(above(role, HOME) for role in ("regional_director", "clinic_admin", *CARE))
    assert not any(above(role, AWAY) for role in ("clinic_admin", *CARE))
    assert above("regional_director", AWAY)
    assert all(above(role, MADE.root) for role in ("system_admin", *WATCHERS, "unheard_of"))
    highest = actor(TREE, ("system_admin", MADE.root.id))
    assert not outranked(highest, [proposal(role, MADE.root) for role in LOWEST])
    assert not outranked(asker, [])
    assert outranked(actor(TREE, ("nurse", MADE.root.id)), [proposal("nurse", WARD)])
