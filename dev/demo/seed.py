"""Makes the demo world on a development stack, by the same way as a customer's health system is made."""

import time
import uuid
from dataclasses import dataclass, field

from sqlalchemy import select

from dev.demo import cast
from dev.demo.logins import login_of
from dev.demo.places import SYSTEMS, System
from dev.demo.populate import Progress, Target, populate, retire, silent
from dev.state import State
from domain.organization import MfaPolicy
from domain.people import Person
from identity.mfa import administers
from identity.provisioning import PersonDraft
from identity.realms import SVC_IDENTITY
from identity.sync import FirstLogin, cell_session, set_first_login, sync_person
from identity.tenants import MadeTenant, Platform, TenantOrder, create_tenant

FIRST = ("system_admin", "privacy_officer")


@dataclass(frozen=True)
class Links:
    """What the seed reaches: Keycloak, the databases and the keys (`platform`), and the cell as its owner."""

    platform: Platform
    owner_url: str


@dataclass
class Summary:
    """What there is now: the health systems by slug with their issuers, how many people, how long it took (s)."""

    issuers: dict[str, str] = field(default_factory=dict)
    tenants: dict[str, uuid.UUID] = field(default_factory=dict)
    people: int = 0
    seconds: float = 0.0


async def seed(links: Links, state: State, progress: Progress = silent) -> Summary:
    """Make both health systems with their people and patients. A second run changes nothing.

    Passwords and the secrets of authenticator apps are drawn into `state` before they are used.

    Raises what `create_tenant` raises.
    """
    began, summary = time.monotonic(), Summary()
    for system in SYSTEMS:
        made = await _make(links, state, system, progress)
        sealer = await links.platform.keys.of(made.tenant_id)
        target = Target(links.platform.cell, links.owner_url, made.tenant_id, sealer)
        await populate(target, system, progress)
        summary.people += await _let_in(links.platform, state, system, made, progress)
        summary.issuers[system.slug] = made.issuer
        summary.tenants[system.slug] = made.tenant_id
    summary.seconds = time.monotonic() - began
    return summary


async def _make(links: Links, state: State, system: System, progress: Progress) -> MadeTenant:
    first = [cast.member(f"{role}.{system.slug}") for role in FIRST]
    admin, officer = (
        PersonDraft(m.login, m.given_name, m.family_name, f"{m.login}@{m.tenant}.example")
        for m in first
    )
    order = TenantOrder(
        system.slug,
        system.root.name,
        admin,
        officer,
        mfa=system.mfa_policy,
        currency=system.currency,
        variant=system.policy_variant,
        admin_login=_login(state, system, first[0]),
        privacy_officer_login=_login(state, system, first[1]),
        otp_code_reusable=True,
    )
    steps = iter(range(1, 100))
    return await create_tenant(
        links.platform, order, lambda step: progress(f"{system.slug}: {step}", next(steps), 5)
    )


def _login(state: State, system: System, member: cast.Member) -> FirstLogin:
    """Their password, and an authenticator app where the health system asks them for one."""
    roles = [g.role for g in member.grants if g.period == "now"]
    everybody = system.mfa_policy is MfaPolicy.ALL
    return login_of(
        state,
        member,
        totp=everybody or (system.mfa_policy is MfaPolicy.ADMINS and administers(roles)),
    )


async def _let_in(
    platform: Platform, state: State, system: System, made: MadeTenant, progress: Progress
) -> int:
    """Give everybody a user in the realm with what they log in with; whoever has a password keeps it."""
    realm = await platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    members = cast.of(system.slug)
    async with cell_session(platform.cell, made.tenant_id) as session:
        query = select(Person.user_name, Person.id, Person.subject).where(
            Person.tenant_id == made.tenant_id
        )
        rows = {row.user_name: row for row in await session.execute(query)}
    for done, member in enumerate(members, 1):
        row = rows[member.login]
        user_id = row.subject or await sync_person(platform.cell, realm, made.tenant_id, row.id)
        # Also of users that there are: a run that was killed may have left them without anything to log in with.
        if user_id is not None:
            await set_first_login(realm, user_id, _login(state, system, member))
        progress(f"{system.slug}: logins", done, len(members))
    for person_id in await retire(platform.cell, made.tenant_id, system):
        await sync_person(platform.cell, realm, made.tenant_id, person_id)
    return len(members)
