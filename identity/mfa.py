"""Second factors: who must show one from when on, and what counts as shown.

The rule is kept twice, by the realm at login (the marker role) and by the API at each request, because a session
outlives the policy that it was opened under.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from authz.grants import SECOND_FACTOR
from domain.organization import MfaPolicy, Tenant
from domain.people import Person, RoleGrant
from domain.second_factors import EVERY_METHOD, MfaMethod

# RFC 8176, and `recovery` for Keycloak's recovery codes.
REFERENCES = MappingProxyType(
    {MfaMethod.TOTP: "otp", MfaMethod.PASSKEY: "hwk", MfaMethod.RECOVERY: "recovery"}
)
SECOND_FACTORS = frozenset(REFERENCES.values())
LEVEL = "mfa"


@dataclass(frozen=True, slots=True)
class MfaRule:
    """What a health system says of second factors. `admins_since`, `all_since`: None where it always held so."""

    policy: MfaPolicy
    methods: tuple[MfaMethod, ...] = EVERY_METHOD
    grace: dt.timedelta = dt.timedelta()
    admins_since: dt.datetime | None = None
    all_since: dt.datetime | None = None

    @property
    def of_realm(self) -> MfaPolicy:
        """What the realm as a whole asks: where people are given time it cannot ask all, they are marked one by one."""
        given = self.policy is MfaPolicy.ALL and self.grace
        return MfaPolicy.ADMINS if given else self.policy

    def due(self, joined: dt.datetime, administers: dt.datetime | None) -> dt.datetime | None:
        """From when on a person needs a second factor; None: never.

        `joined`: since when they are here. `administers`: since when they first held one of the roles that
        `admins` means, None for who holds none now.
        """
        moments = []
        if self.policy is MfaPolicy.ALL:
            moments.append(max(joined, self.all_since or joined) + self.grace)
        if self.policy is not MfaPolicy.NONE and administers is not None:
            moments.append(max(administers, self.admins_since or administers) + self.grace)
        return min(moments, default=None)

    def is_shown(self, acr: str, amr: frozenset[str]) -> bool:
        """Whether a session has seen a second factor that counts here.

        Neither claim alone tells: a factor that the policy demanded leaves `acr` at 1 with `otp` in `amr`, and a
        login that enrolled one on request has `acr` mfa and only `pwd` in `amr`: of which kind it was is not said,
        so that suffices only where every kind counts.
        """
        if any(REFERENCES[method] in amr for method in self.methods):
            return True
        return acr == LEVEL and set(self.methods) == set(EVERY_METHOD)


def rule_of(tenant: Tenant) -> MfaRule:
    """The rule as the health system's row has it."""
    return MfaRule(
        MfaPolicy(tenant.mfa_policy),
        tuple(map(MfaMethod, tenant.mfa_methods)),
        dt.timedelta(days=tenant.mfa_grace_days),
        tenant.mfa_admins_since,
        tenant.mfa_all_since,
    )


def is_marked(rule: MfaRule, person: Person, grants: Iterable[RoleGrant], now: dt.datetime) -> bool:
    """Whether the realm asks this person for a second factor at each login, beside what it asks of everybody.

    `grants` are all that they ever held.
    """
    if rule.of_realm is not MfaPolicy.ADMINS:
        return False
    due = rule.due(person.created_at, administers_since(grants, now))
    return due is not None and enrol_by(due, person.second_factor_at, now) is None


def administers_since(grants: Iterable[RoleGrant], now: dt.datetime) -> dt.datetime | None:
    """Since when somebody first held a role that `admins` means, of all grants ever; None for who holds none now."""
    meant = [grant for grant in grants if grant.role in SECOND_FACTOR]
    counting = any(
        grant.valid_from <= now and (grant.valid_until is None or now < grant.valid_until)
        for grant in meant
    )
    return min(grant.valid_from for grant in meant) if counting else None


def administers(roles: Iterable[str]) -> bool:
    """Whether one of these roles is one of those that `admins` means."""
    return not SECOND_FACTOR.isdisjoint(roles)


def enrol_by(
    due: dt.datetime | None, shown_at: dt.datetime | None, now: dt.datetime
) -> dt.datetime | None:
    """Until when somebody may come without a second factor; None for who has no time (left), or needs none.

    `shown_at`: when they first showed one. Who had one needs no time to set one up, also after theirs was reset.
    """
    return due if due is not None and shown_at is None and due > now else None
