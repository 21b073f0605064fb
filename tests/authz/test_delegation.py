"""Who may give and take which role where, line by line of "May grant"."""

import datetime as dt
from typing import Any

import pytest

from authz.actor import Actor, Grant
from authz.delegation import SECOND_APPROVAL, Proposal, conflict, may_give, may_revoke
from authz.guard import Forbidden, NotFound, Reason
from authz.templates import VARIANTS
from domain.model import new_id
from tests import make
from tests.authz.world import NOW, actor, tree_of

MADE = make.tree(regions=2, clinics=4)
TREE = tree_of(MADE)
FOREIGN = make.tree()
HOME, AWAY = MADE.regions
CLINIC, OTHER = MADE.clinics[0], MADE.clinics[2]  # both of the first region
FAR = MADE.clinics[1]
WARD = MADE.departments[0][0]
CARE = ("provider", "nurse", "front_desk", "biller")
WATCHERS = ("privacy_officer", "auditor", "system_viewer")


def proposal(role: str, node: Any, **more: Any) -> Proposal:
    values: dict[str, Any] = {"person_id": new_id(), "valid_from": NOW} | more
    return Proposal(tenant_id=TREE.tenant_id, role=role, unit_id=node.id, **values)


def answer(giver: Actor, role: str, node: Any, *held: Grant, **more: Any) -> Reason | str | None:
    """None where it may be given, else why not."""
    try:
        may_give(giver, proposal(role, node, **more), held)
    except NotFound:
        return "NOT_FOUND"
    except Forbidden as refused:
        return refused.reason
    return None


def grant(role: str, node: Any, **more: Any) -> Grant:
    values: dict[str, Any] = {"valid_from": NOW} | more
    return Grant(new_id(), role, node.id, **values)


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
    (("system_admin", MADE.root), "nurse", FOREIGN.clinics[0], "NOT_FOUND"),
    (("system_admin", MADE.root), "regional_director", CLINIC, Reason.ROLE_DOES_NOT_FIT),
    (("system_admin", MADE.root), "auditor", HOME, Reason.ROLE_DOES_NOT_FIT),
    (("system_admin", MADE.root), "chart_reader", CLINIC, "NOT_FOUND"),
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

    assert answer(giver, role, node) == wanted


def test_nobody_gives_to_themselves() -> None:
    giver = actor(TREE, ("system_admin", TREE.root))

    assert answer(giver, "nurse", CLINIC, person_id=giver.person_id) is Reason.TO_ONESELF


def test_the_giving_grant_is_told() -> None:
    giver = actor(TREE, ("nurse", CLINIC.id), ("clinic_admin", CLINIC.id))
    by = may_give(giver, proposal("nurse", CLINIC), ())

    assert by is not None
    assert by.role == "clinic_admin"


PAIRS = [
    ("auditor", "system_admin", MADE.root, MADE.root, True),
    ("auditor", "clinic_admin", MADE.root, CLINIC, True),
    ("privacy_officer", "regional_director", MADE.root, AWAY, True),
    ("clinic_admin", "privacy_officer", WARD, MADE.root, True),
    ("biller", "auditor", CLINIC, MADE.root, True),
    ("biller", "clinic_admin", CLINIC, CLINIC, False),
    ("auditor", "privacy_officer", MADE.root, MADE.root, False),
    ("system_viewer", "auditor", MADE.root, MADE.root, False),
    ("nurse", "auditor", CLINIC, MADE.root, False),
]


@pytest.mark.parametrize(("role", "held", "node", "at", "meets"), PAIRS, ids=told)
def test_duties_that_must_not_meet(role: str, held: str, node: Any, at: Any, meets: bool) -> None:
    giver = actor(TREE, ("system_admin", TREE.root))
    wanted = Reason.CONFLICTING_ROLES if meets else None

    assert answer(giver, role, node, grant(held, at)) is wanted


def test_duties_may_follow_each_other() -> None:
    day = dt.timedelta(days=1)
    ending = grant("auditor", MADE.root, valid_from=NOW - day, valid_until=NOW)
    later = grant("auditor", MADE.root, valid_from=NOW + day)
    new = proposal("biller", CLINIC, valid_until=NOW + day)

    assert not conflict(TREE, new, ending)
    assert not conflict(TREE, new, later)
    assert conflict(TREE, proposal("biller", CLINIC), later)


def test_duties_in_other_parts_of_the_tree_do_not_meet() -> None:
    """Watchers sit at the system today; the comparison does not lean on that."""
    assert not conflict(TREE, proposal("biller", CLINIC), grant("auditor", OTHER))


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
    found: Any = None
    try:
        may_revoke(taker, proposal(role, node), other_system_admins=1)
    except NotFound:
        found = "NOT_FOUND"
    except Forbidden as refused:
        found = refused.reason

    assert found == wanted


def test_the_last_system_admin_stays() -> None:
    taker = actor(TREE, ("system_admin", TREE.root))
    with pytest.raises(Forbidden) as refused:
        may_revoke(taker, proposal("system_admin", MADE.root), other_system_admins=0)

    assert refused.value.reason is Reason.LAST_SYSTEM_ADMIN


def test_the_roles_of_a_second_approval() -> None:
    assert {"system_admin", "privacy_officer", "auditor"} == SECOND_APPROVAL
