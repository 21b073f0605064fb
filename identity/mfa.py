"""Second factors: who must show one, and what counts as shown.

The rule is kept twice, by the realm at login (the marker role) and by the API at each request, because a session
outlives the policy that it was opened under.
"""

from collections.abc import Iterable

from domain.organization import MfaPolicy

# Roles whose holders are administrators under the policy `admins`.
ADMIN_ROLES = frozenset(
    {
        "system_admin",
        "system_viewer",
        "regional_director",
        "clinic_admin",
        "privacy_officer",
        "auditor",
    }
)
# RFC 8176, and `recovery` for Keycloak's recovery codes.
SECOND_FACTORS = frozenset({"otp", "hwk", "recovery"})
LEVEL = "mfa"


def is_shown(acr: str, amr: frozenset[str]) -> bool:
    """Whether a session has seen a second factor.

    Neither claim alone tells: a factor that the policy demanded leaves `acr` at 1 with `otp` in `amr`, and a
    login that enrolled one on request has `acr` mfa and only `pwd` in `amr`.
    """
    return acr == LEVEL or not SECOND_FACTORS.isdisjoint(amr)


def is_required(policy: MfaPolicy, roles: Iterable[str]) -> bool:
    """Whether somebody holding these roles now must show a second factor."""
    if policy is MfaPolicy.ADMINS:
        return not ADMIN_ROLES.isdisjoint(roles)
    return policy is MfaPolicy.ALL


def is_marked(policy: MfaPolicy, roles: Iterable[str]) -> bool:
    """Whether the person's own user carries the marker role; under `all` the realm's default role does."""
    return policy is MfaPolicy.ADMINS and is_required(policy, roles)
