"""How a row lies in the tree: by which relation of the policy a role at a node reaches it."""

import datetime as dt
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from authz.scope import Scope


class Reach(Enum):
    """The relations of the policies that lead to a place.

    UNIT        the row's own `clinic_id` and `unit_id` (encounter, invoice …)
    SITE        any of a patient's sites
    NODE        the row is, or names, a node of any level (org_unit, grant)
    PARENT      the node above the row: strictly below the granted node
    HOME        every node at which the person holds a role, or at which something can be booked: all of them must lie
                inside; without any, the root
    EVERYWHERE  below every node: a role anywhere in the health system reaches it (the directory)
    """

    UNIT = "unit"
    SITE = "site"
    NODE = "node"
    PARENT = "parent"
    HOME = "home"
    EVERYWHERE = "everywhere"

    @property
    def placed(self) -> bool:
        """Whether the scope is made of clinics and departments, as row-level security wants it."""
        return self in (Reach.UNIT, Reach.SITE)


def holds(reach: Reach, tenant_id: UUID, scope: "Scope", row: Any) -> bool:
    """Whether the scope reaches the row. Never a row of another health system."""
    others = None
    if isinstance(row, tuple):
        row, others = row
    if row.tenant_id != tenant_id:
        return False
    if reach is Reach.HOME:
        if others is None:
            raise TypeError("a row with a home is judged together with what says where that is")
        nodes = [other.unit_id for other in others if _counted(tenant_id, row.id, other)]
        return scope.all or (bool(nodes) and all(scope.covers(None, node) for node in nodes))
    if reach is Reach.SITE and others is not None:
        return scope.all or any(_at_site(tenant_id, scope, row.id, site) for site in others)
    if reach is Reach.EVERYWHERE:
        return scope.all
    if reach is Reach.PARENT:
        return row.parent_id is not None and scope.covers(None, row.parent_id)
    if reach is Reach.NODE:
        return scope.covers(None, row.unit_id if hasattr(row, "unit_id") else row.id)
    return scope.covers(row.clinic_id, row.unit_id)


def _at_site(tenant_id: UUID, scope: "Scope", patient_id: UUID, site: Any) -> bool:
    return (
        site.tenant_id == tenant_id
        and site.patient_id == patient_id
        and scope.covers(site.clinic_id, site.unit_id)
    )


def _counted(tenant_id: UUID, row_id: UUID, other: Any) -> bool:
    """Whether a grant of a person, or an assignment of a resource, says where they are at home: unless it has ended."""
    owner = other.person_id if hasattr(other, "person_id") else other.resource_id
    if other.tenant_id != tenant_id or owner != row_id:
        raise ValueError("a row is judged by its own grants or assignments")
    return other.valid_until is None or other.valid_until > dt.datetime.now(dt.UTC)
