"""A wrong policy is found: each role line of the templates dropped, each condition dropped, each role added.

Random documents, as in the fuzz, are asked in turn, of people who hold the role, those first that have told a change
of the same permission; the first answer that differs from the oracle's ends it. For others nothing has changed, so they are
not asked.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import pytest

from authz.conditions import Residual
from authz.templates import ANYONE, Policy, Template, Variant, load_policy
from domain.setup import ROLES
from tests import who
from tests.oracle.generate import Generator
from tests.oracle.stage import INHERIT, Stage, difference, make_actor

pytestmark = pytest.mark.anyio
POLICY = load_policy(Variant())
Question = tuple[str, dict[str, Any]]
MOST = 500
"""Questions within which every change is found."""
READING = (
    "org_unit:read",
    "practitioner:read",
    "person:read",
    "person:manage",
    "patient:read",
    "patient:read_clinical",
    "patient:read_billing",
    "encounter:read",
    "encounter:read_clinical",
    "note:read",
    "observation:read",
    "condition:read",
    "allergy:read",
    "medication_request:read",
    "medication_statement:read",
    "procedure:read",
    "immunization:read",
    "appointment:read",
    "appointment:read_scheduling",
    "charge:read",
    "charge:read_billing",
    "invoice:read",
    "posting:read",
    "charge_master:read",
    "claim:read",
    "coverage:read",
    "payer:read",
    "daily_close:read",
    "schedule:read",
    "assignment:read",
    "grant:read",
)
"""What decides over data that queries answer; the rest shows in `viewer.permissions` alone."""
OF_LINKS = frozenset(role.value for role in ROLES.values())
"""Roles that setup links bring along and no person is given: `tests/identity/test_orders.py` asks by a link."""
IMPLIED = (
    "patient:read_clinical",
    "encounter:read_clinical",
    "appointment:read_scheduling",
    "charge:read_billing",
    "posting:read",
)
"""Asked only within rows whose own reading has the same conditions (a patient's account for the last two)."""
PERMISSIONS = "query($n:ID!){viewer{permissions(node:$n)}}"


def holders(role: str) -> list[who.Who]:
    """Who holds the role now and nothing else: what others give would hide the change."""
    return [one for one in who.CAST if {held.role for held in one.counting} == {role}]


def changed(permission: str, roles: Mapping[str, tuple[Residual, ...]]) -> Policy:
    """The policy with other roles for one permission."""
    template: Template = dataclasses.replace(POLICY.permissions[permission], roles=roles)
    permissions = {**POLICY.permissions, permission: template}
    return dataclasses.replace(POLICY, permissions=permissions, version="changed")


def dropped_roles() -> Iterator[tuple[str, str, Policy]]:
    """Each permission and role of the templates, and the policy without that line."""
    for permission, template in sorted(POLICY.permissions.items()):
        for role in sorted(template.roles.keys() - {ANYONE} - OF_LINKS):
            left = {name: held for name, held in template.roles.items() if name != role}
            yield permission, role, changed(permission, left)


def dropped_conditions() -> Iterator[tuple[str, str, Policy]]:
    """Each condition under which a role may read, and the policy without it."""
    for permission in sorted(set(READING) - set(IMPLIED)):
        template = POLICY.permissions[permission]
        for role, residuals in sorted(template.roles.items()):
            if role == ANYONE or role in OF_LINKS:
                continue  # what is one's own: another rule altogether, asked about in test_answers
            for i, residual in enumerate(residuals):
                for condition in residual:
                    fewer = (*residuals[:i], residual - {condition}, *residuals[i + 1 :])
                    yield permission, role, changed(permission, {**template.roles, role: fewer})


def added_roles() -> Iterator[tuple[str, str, Policy]]:
    """Each role that may not read, and the policy that lets it, as it lets another role."""
    for permission in READING:
        template = POLICY.permissions[permission]
        for role in sorted(set(POLICY.roles) - template.roles.keys() - OF_LINKS):
            given = next(held for name, held in template.roles.items() if name != ANYONE)
            yield permission, role, changed(permission, {**template.roles, role: given})


async def found_after(
    stage: Stage, role: str, policy: Policy, questions: Iterable[Question]
) -> tuple[int, Question] | None:
    """How many questions it took until an answer was wrong, and the last of them; None where all were right."""
    asked = 0
    people = [
        (make_actor(stage.rows[0], stage.systems[0].people[one.name].id, policy), one)
        for one in holders(role)
    ]
    assert people, role
    for question in questions:
        text, variables = question
        for actor, one in people:
            asked += 1
            said = await stage.ask(actor, text, variables)
            if difference(said, stage.expect(stage.sight(one, INHERIT), text, variables)):
                return asked, question
            if asked == MOST:
                return None
    return None


def documents(stage: Stage) -> list[Question]:
    """As many random documents as may be asked."""
    made = Generator(501, stage.rows)
    return [made.document() for _ in range(MOST)]


@pytest.mark.slow
@pytest.mark.parametrize("change", [dropped_roles, dropped_conditions, added_roles])
async def test_a_change_of_who_may_read_is_found(stage: Stage, change: Any) -> None:
    questions, took = documents(stage), []
    telling: dict[str, list[Question]] = {}  # what has told a change of the permission before
    for permission, role, policy in change():
        if permission in READING:
            first = telling.setdefault(permission, [])
            found = await found_after(stage, role, policy, chain(first, questions))
            assert found is not None, f"{change.__name__}: {permission} of {role} was not found"
            took.append(found[0])
            if found[1] not in first:
                first.append(found[1])
    assert took
    print(
        f"{len(took)} changes, at most {max(took)} questions, {sum(took) / len(took):.0f} in the mean"
    )


async def test_a_change_of_what_else_one_may_do_is_found(stage: Stage) -> None:
    nodes = [{"n": stage.unit(place)} for place in who.NODES]
    questions = [(PERMISSIONS, node) for node in nodes]
    for permission, role, policy in dropped_roles():
        if permission not in READING:
            asked = await found_after(stage, role, policy, questions)
            assert asked is not None, f"{permission} of {role} was not found"
