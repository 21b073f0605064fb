"""Letters to a health system's system administrators, about what would stand still if nobody saw to it, and to anybody
about their own login (`identity/letters.py`).

Whoever finds something out defers one notice, in the transaction that notes that it was told (`tell_administrators`); a
job makes a letter of it for each administrator who has an address, and a job for each letter hands it over. A repeat has
the same Message-ID. What a letter says is made when it is sent: what has been seen to meanwhile is not written about.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import procrastinate
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.people import Person, RoleGrant
from domain.reminders import Refused
from identity.administrators import SYSTEM_ADMIN
from identity.deferral import TELL_ADMINISTRATORS, TELL_PERSON, defer_letters
from identity.letters import DEVICES_RESET, RESET_REQUESTED, devices_reset, reset_requested
from identity.provider_notices import provider_ends
from identity.scim.notices import departures_held, token_ends
from identity.sync import cell_session, in_force

log = logging.getLogger(__name__)
Told = tuple[str, str] | None
"""A subject and a text, None where there is nothing to write about any more."""
WRITERS: Mapping[str, Callable[[AsyncSession, Agent, str], Awaitable[Told]]] = {
    "scim_token": token_ends,
    "scim_departures": departures_held,
    "identity_provider": provider_ends,
    RESET_REQUESTED: reset_requested,
    DEVICES_RESET: devices_reset,
}
"""Kind of notice -> what it says, about something that a text names."""


@dataclass(frozen=True)
class Letter:
    """A letter as `identity.mail` sends it."""

    id: uuid.UUID
    planned_at: dt.datetime
    subject: str
    text: str = field(repr=False)
    email: str | None = field(repr=False)
    language: str = "en"


async def tell_administrators(
    context: procrastinate.JobContext, *, tenant_id: str, kind: str, about: str
) -> None:
    """Have a letter written to everybody who administers the health system and has an address."""
    tenant = uuid.UUID(tenant_id)
    async with cell_session(_cell(context), tenant) as session:
        people = await session.scalars(
            select(Person.id)
            .join(
                RoleGrant,
                (RoleGrant.tenant_id == Person.tenant_id) & (RoleGrant.person_id == Person.id),
            )
            .where(
                Person.tenant_id == tenant,
                Person.active,
                Person.email.isnot(None),
                RoleGrant.tenant_id == tenant,
                RoleGrant.role == SYSTEM_ADMIN,
                *in_force(dt.datetime.now(dt.UTC)),
            )
            .distinct()
        )
        await defer_letters(session, tenant, kind, about, people.all())


async def tell_person(
    context: procrastinate.JobContext,
    *,
    tenant_id: str,
    letter_id: str,
    kind: str,
    about: str,
    person_id: str,
) -> None:
    """Send one letter. Raises NotTaken, to be tried again; what is refused for good is left."""
    mail = context.additional_context["identity"].mail
    if mail is None:
        log.warning("A notice was not sent: there is no mail server.")
        return
    tenant, now = uuid.UUID(tenant_id), dt.datetime.now(dt.UTC)
    async with cell_session(_cell(context), tenant) as session:
        person = await session.get(Person, (tenant, uuid.UUID(person_id)))
        told = await WRITERS[kind](session, Agent(tenant, now), about)
    if person is None or not person.active or told is None:
        return
    subject, text = told
    try:
        await mail.send(Letter(uuid.UUID(letter_id), now, subject, text, person.email))
    except Refused:
        log.warning("A notice was refused.")


def _cell(context: procrastinate.JobContext) -> Any:
    return context.additional_context["identity"].cell


TASKS: Mapping[str, Callable[..., Awaitable[None]]] = {
    TELL_ADMINISTRATORS: tell_administrators,
    TELL_PERSON: tell_person,
}
