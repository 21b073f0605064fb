"""Grants that count, predicates that join them with the policy, masks, explanations, settings."""

import datetime as dt
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from authz.actor import Grant
from authz.conditions import ACTOR, Condition
from authz.decisions import reason, require
from authz.explain import explain, permissions_at
from authz.grants import (
    LOWEST,
    counting,
    fits,
    next_change,
)
from authz.guard import Forbidden, NotFound, Reason, settings_for
from authz.masks import Shown
from authz.matrix import matrix
from authz.reach import Reach
from authz.rendering import Unrenderable, column, render
from authz.settings import placed, split
from authz.templates import (
    VARIANTS,
    Policy,
    PolicyError,
    Template,
    Variant,
    load_all,
    load_policy,
    permissions,
)
from domain.encounters import Encounter
from domain.patients import Patient
from domain.people import Person, RoleGrant
from tests import make
from tests.authz.world import NOW, ROLES, actor, tree_of

MADE = make.tree(regions=2, clinics=4, departments=2)
TREE = tree_of(MADE)
FOREIGN = make.tree()
HOME, AWAY = MADE.regions
CLINIC, LAST = MADE.clinics[0], MADE.clinics[3]
WARD, OTHER_WARD = MADE.departments[0]
HOUR = dt.timedelta(hours=1)
BREAK_GLASS = Variant("admins_break_glass")


def held(role: str, node: Any, begins: dt.datetime = NOW, ends: dt.datetime | None = None) -> Grant:
    return Grant(uuid4(), role, node.id, begins, ends)


def visit(node: Any, **values: Any) -> Encounter:
    return make.encounter(make.patient(MADE.tenant), node, **values)


# ---- grants ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grant", "counts"),
    [
        (held("nurse", CLINIC), True),
        (held("nurse", CLINIC, NOW - HOUR, NOW + HOUR), True),
        (held("nurse", CLINIC, NOW - HOUR, NOW), False),
        (held("nurse", CLINIC, NOW + HOUR), False),
        (held("nurse", FOREIGN.clinics[0]), False),
        (held("nurse", MADE.root), True),
        (held("nurse", WARD), True),
        (held("regional_director", CLINIC), False),
        (held("regional_director", HOME), True),
        (held("system_admin", HOME), False),
        (held("auditor", CLINIC), False),
        (held("chart_reader", CLINIC), False),
        (held("king", MADE.root), False),
    ],
)
def test_which_grants_count(grant: Grant, counts: bool) -> None:
    assert bool(counting([grant], TREE, NOW)) is counts


def test_every_role_has_a_lowest_level() -> None:
    assert set(LOWEST) == set(ROLES)
    assert all(fits(role, "system") for role in ROLES)
    assert {r for r in ROLES if fits(r, "department")} == {
        "clinic_admin",
        "provider",
        "nurse",
        "front_desk",
        "biller",
    }


def test_the_next_change() -> None:
    grants = [
        held("nurse", CLINIC, NOW - HOUR, NOW + 2 * HOUR),
        held("nurse", CLINIC, NOW + HOUR),
        held("nurse", CLINIC),
    ]

    assert next_change(grants, NOW) == NOW + HOUR
    assert next_change(grants, NOW + HOUR) == NOW + 2 * HOUR
    assert next_change(grants, NOW + 3 * HOUR) is None


# ---- predicates ------------------------------------------------------------------------------------


def test_an_actor_needs_the_own_tree() -> None:
    somebody = actor(TREE)
    with pytest.raises(ValueError, match="own health system"):
        replace(somebody, tenant_id=uuid4())


def test_an_unknown_permission_is_an_error() -> None:
    with pytest.raises(PolicyError):
        actor(TREE).predicate("encounter", "admire")
    with pytest.raises(PolicyError):
        split("encounter")


def test_grants_add_up_and_scopes_do_not_mix() -> None:
    both = actor(TREE, ("nurse", CLINIC.id), ("front_desk", LAST.id))

    assert both.predicate("encounter", "read").scope.clinics == tuple(sorted((CLINIC.id, LAST.id)))
    assert both.predicate("encounter", "read_clinical").scope.clinics == (CLINIC.id,)
    assert both.predicate("payment", "record").scope.clinics == (LAST.id,)
    assert both.may("payment", "record")
    assert not both.may("posting", "read")


def test_a_foreign_row_never_counts() -> None:
    admin = actor(TREE, ("system_admin", TREE.root))
    foreign = make.encounter(make.patient(FOREIGN.tenant), FOREIGN.clinics[0])

    assert admin.predicate("encounter", "read").allows(visit(WARD))
    assert not admin.predicate("encounter", "read").allows(foreign)


def test_a_department_sees_its_own() -> None:
    nurse = actor(TREE, ("nurse", WARD.id)).predicate("encounter", "read")

    assert nurse.allows(visit(WARD))
    assert not nurse.allows(visit(OTHER_WARD))
    assert not nurse.allows(visit(CLINIC))


@pytest.mark.parametrize("sensitivity", [1, 2, None])
def test_a_restricted_row_is_nobodys(sensitivity: int | None) -> None:
    for role in ROLES:
        somebody = actor(TREE, (role, TREE.root))
        row = visit(CLINIC, sensitivity=sensitivity)
        assert not somebody.predicate("encounter", "read").allows(row)


def test_a_patient_is_reached_by_own_sites_of_the_own_system() -> None:
    read = actor(TREE, ("nurse", CLINIC.id)).predicate("patient", "read")
    patient, site = make.patient_at(MADE.tenant, CLINIC, sensitivity=0)
    other, its_site = make.patient_at(MADE.tenant, LAST)
    foreign, far = make.patient_at(FOREIGN.tenant, FOREIGN.clinics[0])

    assert read.allows((patient, [site]))
    assert read.allows(site)
    assert not read.allows((patient, []))
    assert not read.allows((other, [its_site]))
    assert not read.allows((other, [site]))
    assert not read.allows((foreign, [far]))
    assert not read.allows((patient, [far]))


def test_a_person_is_managed_with_all_their_grants() -> None:
    manage = actor(TREE, ("clinic_admin", CLINIC.id)).predicate("person", "manage")
    who = make.person(MADE.tenant)
    inside, above = make.grant(who, "nurse", WARD), make.grant(who, "nurse", HOME)
    past = make.grant(who, "nurse", HOME, valid_until=make.now() - HOUR)
    later = make.grant(who, "nurse", HOME, valid_from=make.now() + HOUR)

    everywhere = actor(TREE, ("system_admin", TREE.root)).predicate("person", "manage")

    assert not manage.allows((who, []))  # whoever holds nothing is at home at the root
    assert not manage.allows((who, [past]))
    assert everywhere.allows((who, []))
    assert everywhere.allows((who, [past]))
    assert manage.allows((who, [inside, past]))
    assert not manage.allows((who, [inside, above]))
    assert not manage.allows((who, [later]))
    with pytest.raises(TypeError):
        manage.allows(who)
    with pytest.raises(ValueError, match="own grants"):
        manage.allows((who, [make.grant(make.person(MADE.tenant), "nurse", WARD)]))
    assert not actor(TREE, ("nurse", CLINIC.id)).predicate("person", "manage").allows((who, []))


def test_units_are_changed_strictly_below_the_own_node() -> None:
    move = actor(TREE, ("clinic_admin", CLINIC.id)).predicate("org_unit", "move")

    assert move.allows(WARD)
    assert not move.allows(CLINIC)
    assert not move.allows(MADE.root)
    everywhere = actor(TREE, ("system_admin", TREE.root)).predicate("org_unit", "close")
    assert everywhere.allows(CLINIC)
    assert not everywhere.allows(MADE.root)


def test_the_directory_is_open_to_whoever_holds_a_role() -> None:
    assert actor(TREE, ("nurse", WARD.id)).predicate("org_unit", "read").allows(LAST)
    assert not actor(TREE).predicate("org_unit", "read").allows(LAST)
    assert actor(TREE).may("grant", "read")


def test_a_weaker_condition_at_the_same_place_covers_the_stronger() -> None:
    both = actor(TREE, ("nurse", WARD.id), ("provider", CLINIC.id))
    apart = actor(TREE, ("nurse", LAST.id), ("provider", CLINIC.id))

    assert len(both.predicate("note", "sign").branches) == 1
    assert len(apart.predicate("note", "sign").branches) == 2


def test_within_a_node() -> None:
    read = actor(TREE, ("nurse", CLINIC.id), ("nurse", LAST.id)).predicate("patient", "read")

    assert read.within(HOME.id).scope.clinics == (CLINIC.id,)
    assert read.within(WARD.id).scope.units == (WARD.id,)
    assert read.within(FOREIGN.root.id).empty


def test_absent_equals_nothing() -> None:
    row = SimpleNamespace(author_id=None, state=None)
    assert not Condition("author_id", "eq", ACTOR).holds(row, uuid4())
    assert not Condition("state", "in", ("a",)).holds(row, uuid4())
    with pytest.raises(AttributeError):
        Condition("kind", "eq", "x").holds(row, uuid4())


# ---- masks and shapes ------------------------------------------------------------------------------


def test_masks_are_always_never_or_by_row() -> None:
    nurse = actor(TREE, ("nurse", CLINIC.id))
    mixed = actor(TREE, ("nurse", CLINIC.id), ("front_desk", LAST.id))
    wider = actor(TREE, ("nurse", CLINIC.id), ("front_desk", WARD.id))
    desk = actor(TREE, ("front_desk", CLINIC.id))

    assert nurse.mask("encounter", "read_clinical").kind is Shown.ALWAYS
    assert wider.mask("encounter", "read_clinical").kind is Shown.ALWAYS
    assert desk.mask("encounter", "read_clinical").kind is Shown.NEVER
    assert mixed.mask("encounter", "read_clinical").kind is Shown.BY_ROW
    assert mixed.mask("patient", "read_clinical").kind is Shown.BY_ROW
    assert actor(TREE, ("clinic_admin", CLINIC.id)).mask("person", "manage").kind is Shown.BY_ROW


def test_a_shape_is_of_what_the_text_depends_on() -> None:
    one = actor(TREE, ("nurse", CLINIC.id))
    same = actor(TREE, ("nurse", LAST.id))
    several = actor(TREE, ("nurse", CLINIC.id), ("nurse", LAST.id))
    masked = actor(TREE, ("nurse", CLINIC.id), ("front_desk", LAST.id))
    other = actor(TREE, ("nurse", CLINIC.id), variant=BREAK_GLASS)

    assert one.shape == same.shape
    assert len({a.shape for a in (one, several, masked, other)}) == 4


# ---- rendering -------------------------------------------------------------------------------------


def unbound(*_: Any) -> Any:
    raise AssertionError("nothing is bound")


def test_what_cannot_be_rendered_is_an_error() -> None:
    nurse = actor(TREE, ("nurse", CLINIC.id))
    read = nurse.predicate("encounter", "read")
    with pytest.raises(Unrenderable):
        column(Patient, "clinic_id")
    with pytest.raises(Unrenderable):
        column(Patient.__table__, "clinic_id")
    strange = replace(read, branches=((read.scope, frozenset({Condition("state", "eq", "a'b")})),))
    with pytest.raises(Unrenderable):
        strange.sql(Encounter, lambda name, get, type_: column(Encounter, "id"))
    nothing = replace(read, branches=())
    assert str(render(nothing, Encounter, unbound)) == "false"


def test_booleans_are_rendered_as_such() -> None:
    read = actor(TREE, ("nurse", TREE.root)).predicate("practitioner", "read")
    active = replace(read, branches=((read.scope, frozenset({Condition("active", "eq", True)})),))

    assert "true" in str(active.sql(Person, lambda name, get, type_: column(Person, "id")))


# ---- decisions -------------------------------------------------------------------------------------


def refusal(somebody: Any, permission: str, target: Any) -> Any:
    try:
        require(somebody, permission, target)
    except NotFound:
        return "NOT_FOUND"
    except Forbidden as error:
        return error.reason
    return None


def test_reasons() -> None:
    nurse = actor(TREE, ("nurse", CLINIC.id))
    who = make.patient(MADE.tenant)
    signed = make.note(make.encounter(who, WARD), make.person(MADE.tenant))
    nurses_admin = actor(TREE, ("clinic_admin", CLINIC.id))
    person = make.person(MADE.tenant)

    assert refusal(nurse, "note:sign", signed) is Reason.NOT_THE_AUTHOR
    assert refusal(nurse, "encounter:finish", visit(WARD)) is Reason.NO_ROLE
    assert refusal(nurse, "encounter:finish", visit(LAST)) == "NOT_FOUND"
    assert refusal(nurse, "encounter:progress", visit(WARD)) is None
    assert refusal(nurse, "encounter:progress", visit(WARD, sensitivity=1)) == "NOT_FOUND"
    assert refusal(nurse, "encounter:progress", None) == "NOT_FOUND"
    assert reason(nurse, "encounter:read", visit(WARD, sensitivity=1)) is Reason.SENSITIVITY
    granted = make.grant(person, "clinic_admin", WARD)
    assert refusal(nurses_admin, "grant:revoke", granted) is Reason.ROLE_NOT_YOURS_TO_GIVE
    assert refusal(nurses_admin, "person:manage", (person, [granted])) is None
    above = make.grant(person, "nurse", HOME)
    assert refusal(nurses_admin, "person:manage", (person, [above])) is Reason.NO_ROLE


def test_own_rows_need_no_grant() -> None:
    somebody = actor(TREE)
    mine = RoleGrant(
        tenant_id=TREE.tenant_id, person_id=somebody.person_id, role="nurse", unit_id=CLINIC.id
    )

    assert require(somebody, "grant:read", mine) is None


# ---- explanations ----------------------------------------------------------------------------------


def test_why() -> None:
    giver = uuid4()
    grant = Grant(uuid4(), "nurse", CLINIC.id, NOW - HOUR, NOW + HOUR, granted_by=giver)
    nurse = actor(TREE, grant, ("biller", LAST.id))
    told = explain(nurse, "encounter:progress", visit(WARD))

    assert told.allowed
    assert [(c.grant_id, c.granted_by, c.valid_until) for c in told.by] == [
        (grant.id, giver, NOW + HOUR)
    ]
    assert told.policy_version == nurse.policy.version
    assert told.tree_version == TREE.version


def test_why_not() -> None:
    nurse = actor(TREE, ("nurse", CLINIC.id), ("nurse", LAST.id), ("provider", LAST.id))
    told = explain(nurse, "encounter:finish", visit(WARD))

    assert not told.allowed
    assert told.by == ()
    assert [(c.role, c.covers_place, c.role_allows) for c in told.considered] == [
        ("nurse", True, False),
        ("nurse", False, False),
        ("provider", False, True),
    ]
    assert set(told.roles) == {"provider", "clinic_admin", "regional_director", "system_admin"}
    hidden = explain(nurse, "encounter:progress", visit(WARD, sensitivity=2))
    assert hidden.considered[0].unmet == ("sensitivity eq 0",)
    assert hidden.roles == ()


def test_why_of_the_directory() -> None:
    told = explain(actor(TREE, ("nurse", WARD.id)), "org_unit:read", LAST)

    assert [c.role for c in told.by] == ["nurse"]


def test_why_of_own_rows() -> None:
    somebody = actor(TREE)
    mine = RoleGrant(tenant_id=TREE.tenant_id, person_id=somebody.person_id, unit_id=CLINIC.id)
    told = explain(somebody, "grant:read", mine)

    assert told.allowed
    assert told.own
    signer = explain(somebody, "note:sign", make.note(visit(WARD), make.person(MADE.tenant)))
    assert not signer.allowed


def test_the_conditions_of_an_explanation_are_the_nearest() -> None:
    provider = actor(TREE, ("provider", CLINIC.id))
    draft = make.note(visit(WARD), make.person(MADE.tenant), state="draft")
    told = explain(provider, "note:read", draft)

    assert told.considered[0].unmet in (
        ("author_id eq '$actor'",),
        ("state in ('amended', 'signed')",),
    )


def test_permissions_at_a_node() -> None:
    both = actor(TREE, ("nurse", CLINIC.id), ("front_desk", LAST.id))

    assert "encounter:start" in permissions_at(both, WARD.id)
    assert "encounter:start" not in permissions_at(both, LAST.id)
    assert "patient:create" in permissions_at(both, LAST.id)
    assert "org_unit:read" in permissions_at(both, AWAY.id)
    assert "encounter:start" not in permissions_at(both, HOME.id)
    assert "grant:read" not in permissions_at(both, CLINIC.id)
    assert permissions_at(both, FOREIGN.root.id) == []
    assert permissions_at(actor(TREE), CLINIC.id) == []


# ---- settings, matrix, templates -------------------------------------------------------------------


def test_settings_hold_what_is_named_and_no_more() -> None:
    nurse = actor(TREE, ("nurse", CLINIC.id))
    assert dict(settings_for(nurse, ["patient", "org_unit"])) == {
        "app.tenant": str(TREE.tenant_id),
        "app.scope_patient": f"{{{CLINIC.id}}}",
    }
    written = dict(settings_for(nurse, (), {"encounter": ["encounter:start"], "person": ["x:y"]}))
    assert written == {
        "app.tenant": str(TREE.tenant_id),
        "app.write_encounter": f"{{{CLINIC.id}}}",
    }
    assert settings_for(nurse) is settings_for(nurse)
    with pytest.raises(PolicyError):
        settings_for(nurse, (), {"patient": ["org_unit:create"]})


def test_the_settings_are_those_of_the_walls() -> None:
    """The names that the migrations' policies read."""
    walls = {
        *("appointment", "charge", "condition", "encounter", "invoice", "note", "observation"),
        *("patient", "posting", "allergy", "medication_request", "medication_statement"),
        *("procedure", "immunization", "claim", "coverage", "daily_close"),
        "schedule",  # asked by `busy_times`; opening hours themselves are the tenant's
    }

    assert set(placed(load_policy(VARIANTS[0]))) == walls


def test_the_matrix_is_the_templates() -> None:
    policy = load_policy(VARIANTS[0])
    entries = list(matrix(policy))
    told = {(e.permission, e.role): e for e in entries}

    assert len(told) == sum(len(t.roles) for t in policy.permissions.values())
    assert told["patient:read", "nurse"].unconditional
    assert told["note:sign", "nurse"].conditions == ("author_id = actor and kind = nursing",)
    assert "state in amended, entered-in-error, signed" in told["note:read", "nurse"].conditions
    assert told["grant:read", "anyone"].conditions == ("person_id = actor",)


def test_every_variant_loads_and_declares_the_same() -> None:
    policies = load_all()

    assert set(policies) == set(VARIANTS)
    assert len({p.version for p in policies.values()}) == len(VARIANTS)
    assert all(set(p.permissions) == permissions() for p in policies.values())


def test_a_model_without_a_policy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encounter, "__resource__", "dream")
    with pytest.raises(PolicyError, match="dream"):
        load_all()


def test_reach_knows_which_rows_are_placed() -> None:
    assert [r for r in Reach if r.placed] == [Reach.UNIT, Reach.SITE]
    assert Policy(VARIANTS[0], "", (), {"a:b": Template(Reach.UNIT, {})}).template("a", "b")


def test_settings_are_cut_to_a_node_and_never_widened() -> None:
    both = actor(TREE, ("nurse", CLINIC.id), ("nurse", LAST.id))
    admin = actor(TREE, ("system_admin", TREE.root))
    asked = ("patient", "encounter")

    cut = dict(settings_for(both, asked, places=(("patient", CLINIC.id),)))
    assert cut["app.scope_patient"] == f"{{{CLINIC.id}}}"
    assert cut["app.scope_encounter"] == both.predicate("encounter", "read").scope.literal()
    assert dict(settings_for(both, asked, places=(("patient", AWAY.id),)))["app.scope_patient"] == (
        f"{{{LAST.id}}}"
    )
    assert (
        dict(settings_for(both, asked, places=(("patient", FOREIGN.root.id),)))["app.scope_patient"]
        == "{}"
    )
    assert (
        dict(settings_for(admin, asked, places=(("patient", CLINIC.id),)))["app.scope_patient"]
        == "*"
    )
