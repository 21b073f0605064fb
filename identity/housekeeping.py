"""What is due each day: room for the coming months' audit events, idempotency keys that have served, and reminders
whose looking job was lost."""

import datetime as dt
from typing import Any
from uuid import UUID

import procrastinate

from domain.audit import Agent
from domain.direct_logins import forget_direct
from domain.identity_providers import forget_sign_ins
from domain.keys import forget
from domain.logins import forget_sessions
from domain.scim_requests import forget_requests
from identity.deferral import CHECK_REALM, defer_check_domain, defer_refresh_provider
from identity.domains import domains_of
from identity.provider_notices import warn_of_providers
from identity.providers import published
from identity.reminders import LOOK
from identity.scim.departures import forget_departures
from identity.scim.notices import warn_of_tokens
from identity.second_factors import defer_ended_grace
from identity.setup import end_expired
from identity.sync import cell_session

KEEP_HOUSE = "cell:keep_house"
FORGET_KEYS = "cell:forget_keys"
LOOK_AFTER = "identity:look_after"
LOOKED_BACK = dt.timedelta(days=3)
"""So far back people are looked for whose time for a second factor has ended: two looks may be missed."""
MONTHS = 3
"""Partitions of the audit trail that are there beforehand, this month's aside."""


async def keep_house(context: procrastinate.JobContext, timestamp: int) -> None:
    """Make the coming partitions; then a job for each health system, so that none waits for another."""
    del timestamp  # when the library says it was due
    app = context.app
    await app.connector.execute_query_async("select make_audit_partitions(%(n)s)", n=MONTHS)
    for tenant_id in await _accounts(context).tenants():
        # Who looks through the calendar already ends the second one that does.
        for task in (FORGET_KEYS, LOOK, LOOK_AFTER, CHECK_REALM):
            await app.configure_task(task).defer_async(tenant_id=str(tenant_id))


async def forget_keys(context: procrastinate.JobContext, *, tenant_id: str) -> None:
    """Delete a health system's idempotency keys of more than a day ago, and what else is long over."""
    tenant = UUID(tenant_id)
    cell = context.additional_context["identity"].cell
    async with cell_session(cell, tenant) as session:
        agent = Agent(tenant_id=tenant, now=dt.datetime.now(dt.UTC))
        await forget(session, agent)
        await forget_sessions(session, agent)
        await forget_sign_ins(session, agent)
        await forget_direct(session, agent)
        await forget_requests(session, agent)
        await forget_departures(session, agent)


async def look_after(context: procrastinate.JobContext, *, tenant_id: str) -> None:
    """Have a health system's e-mail domains, providers' descriptions and directories' tokens looked at again, and let the
    realm ask those for a second factor whose time for setting one up has ended."""
    tenant = UUID(tenant_id)
    cell = context.additional_context["identity"].cell
    domains, providers = await domains_of(cell, tenant), await published(cell, tenant)
    async with cell_session(cell, tenant) as session:
        for domain_id in domains:
            await defer_check_domain(session, tenant, domain_id)
        for provider_id in providers:
            await defer_refresh_provider(session, tenant, provider_id)
        agent = Agent(tenant_id=tenant, now=dt.datetime.now(dt.UTC))
        await warn_of_tokens(session, agent)
        await warn_of_providers(session, agent)
        await end_expired(session, agent)  # whose own job was lost
        await defer_ended_grace(session, agent, agent.now - LOOKED_BACK)


def _accounts(context: procrastinate.JobContext) -> Any:
    return context.additional_context["identity"].accounts
