"""Who may give which role where. The policy says which roles one's own role may assign; here is the rest.

Nobody grants to oneself, a role's level must fit, and two duties that must not meet in one person do not: the pairs
are compared over overlapping subtrees and periods. Pure functions: the callers hand over what the person holds, all
of it, also what the giver cannot see.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from authz.actor import Actor, Grant
from authz.decisions import require
from authz.grants import fits, overlap
from authz.refusals import Forbidden, Reason
from authz.tree import Tree
from domain.errors import NotFound

ADMINS = frozenset({"system_admin", "regional_director", "clinic_admin"})
CONFLICTS = (
    *(
        frozenset({watcher, admin})
        for watcher in ("auditor", "privacy_officer")
        for admin in ADMINS
    ),
    frozenset({"biller", "auditor"}),
)
"""Pairs of duties that one person does not hold over the same part of the tree at the same time."""
SECOND_APPROVAL = frozenset({"system_admin", "privacy_officer", "auditor"})
"""Roles that wait for a second person's approval where the tenant asks for it (the default)."""


@dataclass(frozen=True)
class Proposal:
    """A grant to be given. `valid_until` is exclusive; None is without end."""

    tenant_id: UUID
    person_id: UUID
    role: str
    unit_id: UUID
    valid_from: dt.datetime
    valid_until: dt.datetime | None = None


def may_give(actor: Actor, proposal: Proposal, held: Iterable[Grant]) -> Grant | None:
    """Refuse a grant that the actor may not give; answers the grant of theirs that allows it.

    `held`: every grant of the person that has not ended. Raises NotFound for a node of another tree or an unknown
    role, Forbidden with the reason.
    """
    if proposal.unit_id not in actor.tree or proposal.role not in actor.policy.roles:
        raise NotFound()
    if proposal.person_id == actor.person_id:
        raise Forbidden(Reason.TO_ONESELF)
    allowed_by = require(actor, "grant:give", proposal)
    if not fits(proposal.role, actor.tree.units[proposal.unit_id].level):
        raise Forbidden(Reason.ROLE_DOES_NOT_FIT)
    if any(conflict(actor.tree, proposal, other) for other in held):
        raise Forbidden(Reason.CONFLICTING_ROLES)
    return allowed_by


def may_revoke(actor: Actor, grant: Proposal, other_system_admins: int) -> Grant | None:
    """Refuse to end a grant that the actor may not end; answers the grant of theirs that allows it.

    `other_system_admins`: how many other active people hold that role now. Raises NotFound, Forbidden.
    """
    allowed_by = require(actor, "grant:revoke", grant)
    if grant.role == "system_admin" and other_system_admins < 1:
        raise Forbidden(Reason.LAST_SYSTEM_ADMIN)
    return allowed_by


def conflict(tree: Tree, proposal: Proposal, other: Grant) -> bool:
    """Whether two duties would meet in one person: same part of the tree, at some moment together."""
    return (
        frozenset({proposal.role, other.role}) in CONFLICTS
        and overlap(tree, proposal.unit_id, other.unit_id)
        and _begins_before_end(proposal.valid_from, other.valid_until)
        and _begins_before_end(other.valid_from, proposal.valid_until)
    )


def _begins_before_end(begin: dt.datetime, end: dt.datetime | None) -> bool:
    return end is None or begin < end
