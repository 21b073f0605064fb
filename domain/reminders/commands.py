"""What is done to rules, settings and wordings. What was planned already is judged anew when its time comes."""

import base64
import datetime as dt
import secrets
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.constraints import refusals
from domain.errors import DomainError, Invalid, StaleVersion
from domain.keys import Sealer
from domain.locks import hold
from domain.model import new_id
from domain.organization import Place
from domain.patients import telephone
from domain.plain_text import identifier, optional_line
from domain.reminders.deliveries import SEALED
from domain.reminders.record import (
    EARLIEST,
    SOONEST,
    Channel,
    ReminderRule,
    ReminderSetting,
    ReminderTemplate,
)
from domain.reminders.wording import checked
from domain.versions import change

LOCK = "reminders"
MOST = 20
"""Rules in force of a unit."""
QUIET_HOURS = 16
"""How long quiet hours may be: some of the day must be left."""
SECRET_BYTES = 32


class RuleExists(DomainError):
    """The unit has such a rule in force."""

    code = "RULE_EXISTS"
    constraints = ("uq_reminder_rule_in_force",)

    def __init__(self) -> None:
        super().__init__("This unit has such a rule already.", path=("minutesBefore",))


async def add_rule(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    channel: Channel,
    minutes_before: int | None,
    rule_id: uuid.UUID | None = None,
) -> ReminderRule:
    """Remind by a channel at a unit and below it; without minutes not at all. Raises Invalid, RuleExists."""
    await _counted(session, agent, place)
    rule = ReminderRule(
        tenant_id=agent.tenant_id,
        id=rule_id or new_id(),
        unit_id=place.id,
        channel=channel.value,
        minutes_before=_minutes(minutes_before),
        active=True,
        since=agent.now,
    )
    session.add(rule)
    with refusals():
        await session.flush()
    record(session, agent, "reminder_rule:add", rule.id, clinic_id=place.clinic_id)
    return rule


async def change_rule(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    rule: ReminderRule,
    version: int,
    changes: Mapping[str, Any],
) -> ReminderRule:
    """Change `minutes_before`, or `active`: false withdraws it. Raises Invalid, RuleExists, StaleVersion.

    What is due by the changed rule from now on is sent; nothing is made up for, and no visit is told twice.
    """
    values: dict[str, Any] = {"since": agent.now}
    if "minutes_before" in changes:
        values["minutes_before"] = _minutes(changes["minutes_before"])
    if changes.get("active") is not None:
        if changes["active"] and not rule.active:
            await _counted(session, agent, place)
        values["active"] = changes["active"]
    with refusals():
        changed = await change(session, agent, rule, version, **values)
    record(session, agent, "reminder_rule:change", changed.id, clinic_id=place.clinic_id)
    return changed


async def set_manner(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    version: int,
    changes: Mapping[str, Any],
    setting_id: uuid.UUID | None = None,
) -> ReminderSetting:
    """Set quiet hours, name and telephone of a unit; None leaves it to the unit above. Raises Invalid, StaleVersion.

    `version` is 0 where the unit has no settings yet.
    """
    values: dict[str, Any] = {}
    if "quiet_from" in changes or "quiet_until" in changes:
        values |= _quiet(changes.get("quiet_from"), changes.get("quiet_until"))
    if "display_name" in changes:
        values["display_name"] = optional_line(changes["display_name"], "displayName", maximum=100)
    if "phone" in changes:
        values["phone"] = telephone(changes["phone"], None)
    setting = await _set(session, agent, place, version, values, setting_id)
    record(session, agent, "reminder_rule:set", setting.id, clinic_id=place.clinic_id)
    return setting


async def set_webhook(
    session: AsyncSession,
    agent: Agent,
    sealer: Sealer,
    place: Place,
    version: int,
    url: str | None,
    setting_id: uuid.UUID | None = None,
    *,
    plain: bool = False,
) -> tuple[ReminderSetting, str | None]:
    """Name the address that takes reminders, with a new secret; answers that too, for the only time.

    None takes it away. `plain`: http will do, too (development). Raises Invalid, StaleVersion.
    """
    given = None if url is None else checked_url(url, plain=plain)
    key = secrets.token_bytes(SECRET_BYTES)
    setting = await _set(session, agent, place, version, {}, setting_id)
    sealed = None if given is None else sealer.seal(SEALED, setting.id, key)
    values = {"webhook_url": given, "webhook_secret_sealed": sealed}
    setting = await change(session, agent, setting, setting.version, **values)
    record(session, agent, "reminder_rule:set_webhook", setting.id, clinic_id=place.clinic_id)
    told = None if given is None else f"whsec_{base64.b64encode(key).decode()}"
    return setting, told


async def set_template(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    version: int,
    language: str,
    subject: str,
    body: str,
    template_id: uuid.UUID | None = None,
) -> ReminderTemplate:
    """Set the wording of a language at a unit, `version` 0 for a new one. Raises Invalid, StaleVersion."""
    wording = checked(language, subject, body)
    open_here(place)
    await hold(session, LOCK, agent.tenant_id, place.id)
    found = await session.scalar(
        select(ReminderTemplate).where(
            ReminderTemplate.tenant_id == agent.tenant_id,
            ReminderTemplate.unit_id == place.id,
            ReminderTemplate.language == wording.language,
        )
    )
    values = {"subject": wording.subject, "body": wording.body, "active": True}
    if found is not None:
        template = await change(session, agent, found, version, **values)
    else:
        _first(version)
        template = ReminderTemplate(
            tenant_id=agent.tenant_id,
            id=template_id or new_id(),
            unit_id=place.id,
            language=wording.language,
            version=1,
            **values,
        )
        session.add(template)
        await session.flush()
    record(session, agent, "reminder_rule:set_template", template.id, clinic_id=place.clinic_id)
    return template


async def withdraw_template(
    session: AsyncSession, agent: Agent, place: Place, template: ReminderTemplate, version: int
) -> ReminderTemplate:
    """Use a wording no more. Raises StaleVersion."""
    gone = await change(session, agent, template, version, active=False)
    record(session, agent, "reminder_rule:withdraw_template", gone.id, clinic_id=place.clinic_id)
    return gone


def checked_url(url: str, *, plain: bool = False) -> str:
    """An address that reminders may be sent to, as far as its text tells. Raises Invalid."""
    given = identifier(url, "url", maximum=500)
    try:
        parts = urlsplit(given)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    schemes = ("https", "http") if plain else ("https",)
    if not usable or parts.scheme not in schemes or parts.username or parts.password:
        raise Invalid("This is no address to send to; write it as https://…", path=("url",))
    if parts.fragment or not given.isascii() or " " in given:
        raise Invalid("This is no address to send to; write it as https://…", path=("url",))
    return given


def open_here(place: Place) -> None:
    """Raises Invalid for a closed unit."""
    if not place.active:
        raise Invalid("This unit is closed.", path=("unit",), code="UNIT_CLOSED")


async def _set(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    version: int,
    values: dict[str, Any],
    setting_id: uuid.UUID | None,
) -> ReminderSetting:
    open_here(place)
    await hold(session, LOCK, agent.tenant_id, place.id)
    found = await session.scalar(
        select(ReminderSetting).where(
            ReminderSetting.tenant_id == agent.tenant_id, ReminderSetting.unit_id == place.id
        )
    )
    if found is not None:
        return await change(session, agent, found, version, **values)
    _first(version)
    made = ReminderSetting(
        tenant_id=agent.tenant_id,
        id=setting_id or new_id(),
        unit_id=place.id,
        version=1,
        **values,
    )
    session.add(made)
    await session.flush()
    return made


def _first(version: int) -> None:
    if version != 0:
        raise StaleVersion(0)


def _minutes(value: int | None) -> int | None:
    if value is not None and not SOONEST <= value <= EARLIEST:
        raise Invalid(
            f"{SOONEST} minutes to {EARLIEST // 1440} days before.", path=("minutesBefore",)
        )
    return value


def _quiet(since: dt.time | None, until: dt.time | None) -> dict[str, dt.time | None]:
    if (since is None) != (until is None):
        missing = "quietFrom" if since is None else "quietUntil"
        raise Invalid("Quiet hours have a beginning and an end.", path=(missing,))
    if since is not None and until is not None:
        for value, path in ((since, "quietFrom"), (until, "quietUntil")):
            if value.tzinfo is not None or value.second or value.microsecond:
                raise Invalid("A time of the day has hours and minutes only.", path=(path,))
        minutes = (until.hour - since.hour) * 60 + until.minute - since.minute
        if minutes % (24 * 60) > QUIET_HOURS * 60:
            raise Invalid(f"Quiet hours are {QUIET_HOURS} at the most.", path=("quietUntil",))
    return {"quiet_from": since, "quiet_until": until}


async def _counted(session: AsyncSession, agent: Agent, place: Place) -> None:
    open_here(place)
    await hold(session, LOCK, agent.tenant_id, place.id)
    held = select(ReminderRule.id).where(
        ReminderRule.tenant_id == agent.tenant_id,
        ReminderRule.unit_id == place.id,
        ReminderRule.active,
    )
    if len((await session.scalars(held.limit(MOST))).all()) >= MOST:
        raise Invalid(f"A unit has at most {MOST} of these.", path=("unit",), code="TOO_MANY")
