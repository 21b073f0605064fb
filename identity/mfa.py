"""Second factors: who must show one, and what counts as shown.

The rule is kept twice, by the realm at login (the marker role) and by the API at each request, because a session
outlives the policy that it was opened under.
"""

from collections.abc import Iterable

from authz.grants import SECOND_FACTOR
from domain.organization import MfaPolicy

# RFC 8176, and `recovery` for Keycloak's recovery codes.
SECOND_FACTORS = frozenset({"otp", "hwk", "recovery"})
LEVEL = "mfa"


def is_shown(acr: str, amr: frozenset[str]) -> bool:
    """Whether a session has seen a second factor.

    Neither claim alone tells: a factor that the policy demanded leaves `acr` at 1 with `otp` in `amr`, and a
    login that enrolled one on request has `acr` mfa and only `pwd` in `amr`.
    """
    return acr == LEVEL or not SECOND_FACTORS.isdisjoint(amr)


def is_marked(policy: MfaPolicy, roles: Iterable[str]) -> bool:
    """Whether a person holding these roles now carries the marker role themselves.

    Only under `admins`: under `all` the realm's default role contains the marker, under `none` nobody has it.
    """
    return policy is MfaPolicy.ADMINS and not SECOND_FACTOR.isdisjoint(roles)
