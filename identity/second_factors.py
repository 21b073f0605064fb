"""Who needs a second factor at a health system: changed, and shown before it is changed.

Commands are in the caller's transaction and leave one audit event each; whether the agent may was decided before.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.changes import unsettled
from domain.errors import Invalid, NotFound, StaleVersion
from domain.organization import MfaPolicy, Tenant
from domain.people import Person, RoleGrant
from domain.second_factors import LONGEST_GRACE, methods_of
from identity.deferral import defer_sync, defer_sync_tenant
from identity.mfa import MfaRule, administers_since, enrol_by, rule_of


@dataclass(frozen=True)
class Standing:
    """An active person: since when they are here, since when they administer (None: not now), when they first showed a
    second factor."""

    person_id: uuid.UUID
    user_name: str
    given_name: str
    family_name: str
    joined: dt.datetime
    administers: dt.datetime | None
    shown_at: dt.datetime | None

    def enrol_by(self, rule: MfaRule, now: dt.datetime) -> dt.datetime | None:
        """Until when they may come without a second factor."""
        return enrol_by(self.due(rule), self.shown_at, now)

    def due(self, rule: MfaRule) -> dt.datetime | None:
        """From when on they need one."""
        return rule.due(self.joined, self.administers)


def drafted_rule(policy: MfaPolicy, methods: Iterable[str], grace_days: int) -> MfaRule:
    """A rule as somebody asks for it. Raises Invalid (MFA_METHODS, MFA_GRACE)."""
    if not 0 <= grace_days <= LONGEST_GRACE:
        raise Invalid(
            f"People have 0 to {LONGEST_GRACE} days for it.", path=("graceDays",), code="MFA_GRACE"
        )
    return MfaRule(policy, methods_of(methods), dt.timedelta(days=grace_days))


async def configure_mfa(
    session: AsyncSession, agent: Agent, wanted: MfaRule, version: int | None = None
) -> int:
    """Say who needs a second factor, of which kinds, and how long people have to set one up; answers the new version.

    For requests from the commit on and for logins soon after. Sessions stay open; whoever has not shown what counts
    is asked for it by the API. Raises NotFound, StaleVersion.
    """
    tenant = await present(session, agent)
    if version is not None and tenant.version != version:
        raise StaleVersion(tenant.version)
    before = rule_of(tenant)
    changed = await session.scalar(
        select(
            func.configure_mfa(
                agent.tenant_id,
                wanted.policy.value,
                [method.value for method in wanted.methods],
                wanted.grace.days,
                agent.now,
            )
        )
    )
    if changed is None:
        raise NotFound()
    unsettled(session)
    record(session, agent, "tenant:configure", agent.tenant_id)
    await defer_sync_tenant(session, agent.tenant_id)
    one_by_one = any(rule.policy is MfaPolicy.ALL and rule.grace for rule in (before, wanted))
    concerned = await standings(session, agent)
    if not one_by_one:
        concerned = [one for one in concerned if one.administers is not None]
    await defer_sync(session, agent.tenant_id, [one.person_id for one in concerned])
    return int(changed)


async def present(session: AsyncSession, agent: Agent) -> Tenant:
    """The health system's row, locked: of two who change it at once the second sees what the first did. Raises NotFound."""
    found = await session.scalar(
        select(Tenant).where(Tenant.tenant_id == agent.tenant_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if found is None:
        raise NotFound()
    return found


async def standings(session: AsyncSession, agent: Agent) -> list[Standing]:
    """How every active person stands to the rule, by family name."""
    people = await session.scalars(
        select(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.active)
        .order_by(Person.family_name, Person.id)
    )
    held: dict[uuid.UUID, list[RoleGrant]] = {}
    for grant in await session.scalars(
        select(RoleGrant).where(RoleGrant.tenant_id == agent.tenant_id)
    ):
        held.setdefault(grant.person_id, []).append(grant)
    return [
        Standing(
            person.id,
            person.user_name,
            person.given_name,
            person.family_name,
            person.created_at,
            administers_since(held.get(person.id, ()), agent.now),
            person.second_factor_at,
        )
        for person in people
    ]


@dataclass(frozen=True)
class Preview:
    """What a rule would change: how many need a second factor then, who of them needs none now or gets one for the
    first time, and who of these has never shown one."""

    required: int
    newly: Sequence[Standing]
    without: int
    rule: MfaRule


async def previewed(session: AsyncSession, agent: Agent, wanted: MfaRule) -> Preview:
    """What would happen if this were said now. Changes nothing. Raises NotFound."""
    tenant = await session.scalar(select(Tenant).where(Tenant.tenant_id == agent.tenant_id))
    if tenant is None:
        raise NotFound()
    now, rule = rule_of(tenant), since(rule_of(tenant), wanted, agent.now)
    everybody = await standings(session, agent)
    required = [one for one in everybody if one.due(rule) is not None]
    newly = [one for one in required if one.due(now) is None]
    return Preview(len(required), newly, sum(one.shown_at is None for one in required), rule)


def since(before: MfaRule, wanted: MfaRule, moment: dt.datetime) -> MfaRule:
    """The rule that follows another, with its beginnings, as the database's `configure_mfa` keeps them."""
    admins = moment if before.policy is MfaPolicy.NONE else before.admins_since
    everybody = before.all_since if before.policy is MfaPolicy.ALL else moment
    return replace(
        wanted,
        admins_since=None if wanted.policy is MfaPolicy.NONE else admins,
        all_since=everybody if wanted.policy is MfaPolicy.ALL else None,
    )


async def defer_ended_grace(session: AsyncSession, agent: Agent, since_when: dt.datetime) -> None:
    """Let the realm ask those whose time for setting up a second factor ended since a moment.

    The API has asked them from that moment on by itself.
    """
    tenant = await session.scalar(select(Tenant).where(Tenant.tenant_id == agent.tenant_id))
    if tenant is None or not tenant.mfa_grace_days:
        return
    rule = rule_of(tenant)
    ended = [
        one.person_id
        for one in await standings(session, agent)
        if (due := one.due(rule)) is not None and since_when < due <= agent.now
    ]
    await defer_sync(session, agent.tenant_id, ended)
