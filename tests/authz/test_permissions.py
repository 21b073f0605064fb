"""The committed templates are the specification's table, no more and no less, in each variant."""

import pytest

from authz.conditions import ACTOR, Residual
from authz.templates import VARIANTS, Policy, Variant, load_policy
from tests.authz.permissions_table import EVERY_ROLE, TABLE, Conditions, expected


def told(residual: Residual) -> Conditions:
    """A residual in the words of the table."""
    return frozenset((c.field, c.value.value if c.value is ACTOR else c.value) for c in residual)


def compiled(policy: Policy) -> set[tuple[str, str, str, frozenset[Conditions]]]:
    """The templates as lines of the table."""
    return {
        (name, template.reach.value, role, frozenset(map(told, residuals)))
        for name, template in policy.permissions.items()
        for role, residuals in template.roles.items()
    }


def wanted(variant: Variant) -> set[tuple[str, str, str, frozenset[Conditions]]]:
    return set(
        expected(
            break_glass=variant.admins == "admins_break_glass",
            viewer_clinical=variant.viewer_clinical,
        )
    )


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_nothing_is_allowed_beyond_the_table(variant: Variant) -> None:
    assert compiled(load_policy(variant)) - wanted(variant) == set()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_nothing_of_the_table_is_missing(variant: Variant) -> None:
    assert wanted(variant) - compiled(load_policy(variant)) == set()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_the_roles_are_those_of_the_table(variant: Variant) -> None:
    assert set(load_policy(variant).roles) == set(EVERY_ROLE)


def test_the_table_has_each_permission_once() -> None:
    names = [row.permission for row in TABLE]

    assert len(names) == len(set(names))
