"""Lost devices: what somebody proves themselves with beside their password is removed once two administrators agree.

One asks, another one approves, neither of them for themselves. With the approval every session of the person ends
here; the realm's sessions and devices go by a job, and the person is told by mail of both steps. They keep their
password, and have no time to set up the next device: who had one once needs none (`identity/mfa.py`).

Where nobody is left to approve, because the only other administrator is the one who lost theirs, the platform resets
(`caretree tenant reset-devices`), and the person is told as well.
"""

import uuid
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid, NotAllowed, NotFound
from domain.model import new_id
from domain.people import Person
from domain.plain_text import line
from domain.second_factors import RESET_LAPSES, DeviceReset, ResetState
from domain.versions import change, locked
from identity.approvals import OwnRequest, RequesterGone, is_administrator
from identity.deferral import defer_letters, defer_reset_devices
from identity.grants import PersonInactive
from identity.keycloak import Realm
from identity.keycloak_failures import NotFound as GoneAlready
from identity.letters import DEVICES_RESET, RESET_REQUESTED
from identity.revocation import revoke_sessions
from identity.sync import subject_of

DEVICES = frozenset({"otp", "webauthn", "webauthn-passwordless", "recovery-authn-codes"})
"""Keycloak's kinds of credentials that are second factors."""


class OwnDevices(NotAllowed):
    """Nobody takes part in resetting their own devices."""

    code = "OWN_DEVICES"

    def __init__(self) -> None:
        super().__init__("Two others reset your devices.")


class ResetRequested(Invalid):
    """A reset of this person's devices waits already."""

    code = "ALREADY_REQUESTED"
    constraints = ("uq_device_reset_pending",)

    def __init__(self) -> None:
        super().__init__("This waits for a second administrator already.", code=self.code)


async def request_reset(
    session: AsyncSession,
    agent: Agent,
    person: Person,
    reason: str,
    reset_id: uuid.UUID | None = None,
) -> DeviceReset:
    """Ask for a reset that somebody else has to approve within a day.

    Raises OwnDevices, PersonInactive, Invalid (reason), ResetRequested.
    """
    assert agent.person_id is not None  # the platform's own has no second step
    if person.id == agent.person_id:
        raise OwnDevices()
    if not person.active:
        raise PersonInactive()
    await _make_room(session, agent, person.id)
    reset = DeviceReset(
        tenant_id=agent.tenant_id,
        id=reset_id or new_id(),
        person_id=person.id,
        reason=line(reason, "reason"),
        state=ResetState.PENDING.value,
        requested_by=agent.person_id,
        lapses_at=agent.now + RESET_LAPSES,
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(reset)
    await session.flush()
    record(session, agent, "person:request_reset", reset.id, person.id)
    await defer_letters(session, agent.tenant_id, RESET_REQUESTED, str(reset.id), [person.id])
    return reset


async def approve_reset(
    session: AsyncSession, agent: Agent, reset: DeviceReset, version: int
) -> DeviceReset:
    """Carry a reset out. Raises StaleVersion, IllegalMove, OwnRequest, OwnDevices, Invalid (REQUEST_LAPSED),
    RequesterGone, PersonInactive."""
    waiting = await _open(session, agent, reset, version, ResetState.APPROVED)
    if waiting.requested_by == agent.person_id:
        raise OwnRequest()
    if waiting.person_id == agent.person_id:
        raise OwnDevices()
    if waiting.lapses_at <= agent.now:
        raise Invalid("This request has lapsed: ask anew.", path=("id",), code="REQUEST_LAPSED")
    if not await is_administrator(session, agent, waiting.requested_by):
        raise RequesterGone()
    await reset_devices(session, agent, waiting.person_id, waiting.id)
    return await _decide(session, agent, waiting, ResetState.APPROVED)


async def decline_reset(
    session: AsyncSession, agent: Agent, reset: DeviceReset, version: int
) -> DeviceReset:
    """Close a request: nothing is removed. Whoever asked may take it back so. Raises StaleVersion, IllegalMove."""
    waiting = await _open(session, agent, reset, version, ResetState.DECLINED)
    record(session, agent, "person:decline_reset", waiting.id, waiting.person_id)
    return await _decide(session, agent, waiting, ResetState.DECLINED)


async def reset_devices(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, *because: uuid.UUID
) -> None:
    """End a person's sessions and have their devices removed from the realm. Raises NotFound, PersonInactive."""
    active = await session.scalar(
        select(Person.active).where(Person.tenant_id == agent.tenant_id, Person.id == person_id)
    )
    if active is None:
        raise NotFound()
    if not active:
        raise PersonInactive()
    await revoke_sessions(session, agent, person_id)
    record(session, agent, "person:reset_devices", person_id, *because)
    await defer_reset_devices(session, agent.tenant_id, person_id)
    about = str(next(iter(because), None) or new_id())  # each reset is a letter of its own
    await defer_letters(session, agent.tenant_id, DEVICES_RESET, about, [person_id])


async def reset_devices_of(session: AsyncSession, agent: Agent, user_name: str) -> None:
    """As `reset_devices`, of whoever logs in by this name. Raises NotFound, PersonInactive."""
    person_id = await session.scalar(
        select(Person.id).where(
            Person.tenant_id == agent.tenant_id, Person.user_name == user_name.strip().lower()
        )
    )
    if person_id is None:
        raise NotFound("There is no such person.")
    await reset_devices(session, agent, person_id)


async def remove_devices(
    cell: AsyncEngine, realm: Realm, tenant_id: uuid.UUID, person_id: uuid.UUID
) -> None:
    """Remove the person's second factors from the realm, their sessions first. Safe to repeat. `realm`: svc-identity."""
    subject = await subject_of(cell, tenant_id, person_id)
    if subject is None:
        return
    # A session of the realm could set up the next device without the one that is gone.
    await realm.end_sessions(subject)
    for credential in await realm.credentials(subject):
        if credential["type"] in DEVICES:
            with suppress(GoneAlready):
                await realm.remove(f"users/{subject}/credentials/{credential['id']}")


async def _make_room(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> None:
    """Close a request for the same person that lapsed. Raises ResetRequested for one that has not."""
    waiting = await session.scalar(
        select(DeviceReset)
        .where(
            DeviceReset.tenant_id == agent.tenant_id,
            DeviceReset.person_id == person_id,
            DeviceReset.state == ResetState.PENDING.value,
        )
        .with_for_update()
    )
    if waiting is None:
        return
    if waiting.lapses_at > agent.now:
        raise ResetRequested()
    await _decide(session, agent, waiting, ResetState.DECLINED)


async def _open(
    session: AsyncSession, agent: Agent, reset: DeviceReset, version: int, to: ResetState
) -> DeviceReset:
    """The request, locked, if it still waits and has this version."""
    waiting = await locked(session, agent, reset, version)
    if waiting.state != ResetState.PENDING:
        raise IllegalMove("reset", waiting.state, to.value)
    return waiting


async def _decide(
    session: AsyncSession, agent: Agent, reset: DeviceReset, to: ResetState
) -> DeviceReset:
    return await change(
        session,
        agent,
        reset,
        reset.version,
        state=to.value,
        decided_by=agent.person_id,
        decided_at=agent.now,
    )
