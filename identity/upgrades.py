"""Every health system's realm, and that of the operators, compared with the present template, mended, and brought up from older ones, with a report.

A realm is told apart by what it is, not by the version that it says: whichever template made it, and whoever changed
it since, the same repair ends where a new realm begins (`identity/drift`). People, identity providers and keys stay.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.control import STANDING, IdentityCluster, RegistryState, TenantEntry
from domain.errors import NotFound
from domain.key_providers import SealBroken
from domain.operators import OperatorRealm
from domain.organization import Tenant
from identity.drift import VERSION, StillDiffers, drift, repair
from identity.keycloak import Realm
from identity.keycloak_failures import KeycloakFailure, Unavailable
from identity.mfa import rule_of
from identity.operators import planned
from identity.realms import SERVICE_ACCOUNTS, RealmPlan, RealmTaken
from identity.sync import cell_session
from identity.tenants import Platform, Progress, secret_of, silent

OPERATORS = "(operators)"
"""Stands where a slug stands elsewhere; no health system is called so."""
ENOUGH = 2
"""Visits that a server leaves without an answer, each after seconds of trying again."""
_MADE = TenantEntry.state.in_(STANDING)


@dataclass(frozen=True)
class RealmReport:
    """What was found at a realm, and what became of it. `before`: the template's version that it said it had.

    `failure` is one sentence where it could not be mended, or not all of it; seconds are of the whole visit.
    """

    slug: str
    realm: str
    before: str
    found: tuple[str, ...]
    mended: bool
    seconds: float
    failure: str | None = None


async def drift_of(platform: Platform, slug: str) -> list[str]:
    """In which points a realm is not what the template and the platform say. Raises NotFound, KeycloakFailure."""
    realm, plan = await _planned(platform, await _one(platform, slug))
    return await drift(realm, plan)


async def repair_of(platform: Platform, slug: str) -> RealmReport:
    """Mend one realm. Raises NotFound; what Keycloak refuses is in the report."""
    return await _visited(platform, await _one(platform, slug), Counter(), mend=True)


async def upgrade_realms(
    platform: Platform, *, mend: bool = True, progress: Progress = silent
) -> list[RealmReport]:
    """Visit every realm, the operators' first, one after the other; one that fails keeps no other from its turn.

    A server that has left ENOUGH visits in a row without an answer is not asked for its further realms. `progress` is
    told each slug before its visit. Without `mend` nothing is changed.
    """
    async with AsyncSession(platform.control) as session:
        rows = (await session.execute(_entries().order_by(TenantEntry.slug))).all()
    reports, silences = [], Counter[str]()
    for place in [*await _of_operators(platform), *(Place(*row) for row in rows)]:
        progress(place.slug)
        reports.append(await _visited(platform, place, silences, mend=mend))
    return reports


@dataclass(frozen=True)
class Place:
    """Where a realm is: a health system's, or that of the operators, whose row it then has."""

    tenant_id: UUID
    slug: str
    realm: str
    state: str
    url: str
    operators: OperatorRealm | None = None


def _entries() -> Select[UUID, str, str, str, str]:
    return (
        select(
            TenantEntry.id,
            TenantEntry.slug,
            TenantEntry.realm,
            TenantEntry.state,
            IdentityCluster.url,
        )
        .join(IdentityCluster, IdentityCluster.id == TenantEntry.identity_cluster_id)
        .where(_MADE)
    )


async def _of_operators(platform: Platform) -> list[Place]:
    """Their realm, where there is one yet."""
    query = select(OperatorRealm, IdentityCluster.url).join(
        IdentityCluster, IdentityCluster.id == OperatorRealm.identity_cluster_id
    )
    async with AsyncSession(platform.control, expire_on_commit=False) as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        return []
    entry, url = row
    return [Place(entry.id, OPERATORS, entry.realm, RegistryState.ACTIVE.value, url, entry)]


async def _one(platform: Platform, slug: str) -> Place:
    if slug == OPERATORS and (found := await _of_operators(platform)):
        return found[0]
    async with AsyncSession(platform.control) as session:
        row = (await session.execute(_entries().where(TenantEntry.slug == slug))).one_or_none()
    if row is None:
        raise NotFound("There is no such health system.")
    return Place(*row)


async def _planned(platform: Platform, place: Place) -> tuple[Realm, RealmPlan]:
    """The realm as the provisioning client, and what it shall be."""
    if place.operators is not None:
        return await planned(platform, place.operators)
    portals, tenant_id = platform.portals, place.tenant_id
    async with cell_session(platform.cell, tenant_id) as session:
        tenant = await session.get_one(Tenant, tenant_id)
    async with AsyncSession(platform.control) as session, session.begin():
        drawn = {
            c: await secret_of(session, platform.sealer, tenant_id, c) for c in SERVICE_ACCOUNTS
        }
    plan = RealmPlan(
        name=place.realm,
        tenant_id=tenant_id,
        mfa=rule_of(tenant).of_realm,
        methods=rule_of(tenant).methods,
        session_idle=tenant.session_idle,
        session_max=tenant.session_max,
        portal_redirects=portals.redirects,
        admin_redirects=portals.admin_redirects,
        backchannel_logout=f"{portals.backchannel_logout}/{place.realm}",
        secrets=drawn,
        otp_code_reusable=platform.codes_serve_twice,
        enabled=place.state != RegistryState.SUSPENDED,
    )
    return await platform.accounts.as_master(place.url, place.realm), plan


async def _visited(
    platform: Platform, place: Place, silences: Counter[str], *, mend: bool
) -> RealmReport:
    """`silences`: how many visits to each server were left without an answer since its last one."""
    began, before, found, failure = time.monotonic(), "", list[str](), None
    try:
        if silences[place.url] >= ENOUGH:
            raise Unavailable("what was asked for realms before this one", None)
        async with _alone(platform, place.realm):
            realm, plan = await _planned(platform, place)
            attributes = (await realm.read()).get("attributes", {})
            before = attributes.get(VERSION, "")
            if attributes.get("tenant_id") != str(place.tenant_id):
                raise RealmTaken("The realm belongs to another health system; nothing was changed.")
            found = await (repair if mend else drift)(realm, plan)
        silences[place.url] = 0
    except Unavailable as error:
        silences[place.url] += 1
        failure = str(error)
    except (KeycloakFailure, StillDiffers, RealmTaken, SealBroken) as error:
        failure = str(error)
    except SQLAlchemyError as error:
        failure = f"Its rows cannot be read ({type(error).__name__})."
    mended = mend and failure is None
    seconds = time.monotonic() - began
    return RealmReport(place.slug, place.realm, before, tuple(found), mended, seconds, failure)


@asynccontextmanager
async def _alone(platform: Platform, realm: str) -> AsyncIterator[None]:
    """Of two repairs of one realm the second waits, wherever it runs."""
    async with platform.control.begin() as connection:
        await connection.execute(
            select(func.pg_advisory_xact_lock(func.hashtextextended(realm, 0)))
        )
        yield
