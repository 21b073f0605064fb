"""The oracle finds a policy that is wrong: each role line of the templates dropped, each condition dropped.

A fixed sequence of questions is asked in turn of people who hold the role; the first answer that differs from the
oracle's ends it. Asking those who do not hold the role could find nothing, since nothing changes for them; they
are left out and not counted.
"""

import dataclasses
from collections.abc import Iterator

import pytest

from authz.templates import Policy, Template, Variant, load_policy
from tests import who
from tests.oracle.documents import LISTS, connection, everything
from tests.oracle.fields import NODE_TYPES
from tests.oracle.stage import INHERIT, Stage, difference, make_actor

pytestmark = pytest.mark.anyio
POLICY = load_policy(Variant())
MOST = 500
"""Questions in which every change must be found."""


def lines() -> Iterator[tuple[str, str]]:
    """Each permission and role of the templates."""
    for permission, template in sorted(POLICY.permissions.items()):
        for role in sorted(template.roles):
            yield permission, role


def changed(permission: str, template: Template) -> Policy:
    """The policy with another template for one permission."""
    permissions = {**POLICY.permissions, permission: template}
    return dataclasses.replace(POLICY, permissions=permissions, version="changed")


def without_role(permission: str, role: str) -> Policy:
    template = POLICY.permissions[permission]
    roles = {name: residuals for name, residuals in template.roles.items() if name != role}
    return changed(permission, dataclasses.replace(template, roles=roles))
