"""Which of several rules, settings and wordings counts at a place: what the nearest unit says, itself included.

Rules are taken for each channel: the nearest unit with rules in force for a channel decides about it alone, all its
rules together. Settings are taken for each value. Of wordings the nearest in the patient's language, else the nearest
in English, else the product's own.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.audit import Agent
from domain.organization import OrgUnit
from domain.reminders.record import ReminderRule, ReminderSetting, ReminderTemplate
from domain.reminders.wording import DEFAULT, Wording

QUIET = dt.time(21), dt.time(8)
"""Quiet hours where nobody has set any."""
LEVELS = 4
Spoken = TypeVar("Spoken", ReminderRule, ReminderSetting)


@dataclass(frozen=True)
class Manner:
    """The settings that count at a place. `webhook` is the row that names one."""

    quiet_from: dt.time
    quiet_until: dt.time
    display_name: str | None
    phone: str | None
    webhook: ReminderSetting | None


@dataclass(frozen=True)
class RuleAtPlace:
    """A rule where it counts: at a clinic or department, with the clinic's zone and the quiet hours there."""

    unit_id: uuid.UUID
    rule: ReminderRule
    minutes: int
    zone: str
    quiet_from: dt.time
    quiet_until: dt.time

    @property
    def shift(self) -> dt.timedelta:
        """How far the quiet hours can move a reminder: their length, the half hour before, a change of the clocks."""
        since, until = (t.hour * 60 + t.minute for t in (self.quiet_from, self.quiet_until))
        length = (until - since) % (24 * 60)
        return dt.timedelta(minutes=length + 90 if length else 0)


def manner(line: Sequence[ReminderSetting]) -> Manner:
    """The settings of a line of units, nearest first."""
    hours = next(
        (
            (s.quiet_from, s.quiet_until)
            for s in line
            if s.quiet_from is not None and s.quiet_until is not None
        ),
        QUIET,
    )
    return Manner(
        *hours,
        display_name=next((s.display_name for s in line if s.display_name), None),
        phone=next((s.phone for s in line if s.phone), None),
        webhook=next((s for s in line if s.webhook_url), None),
    )


def rules_of(line: Sequence[Sequence[ReminderRule]]) -> list[ReminderRule]:
    """The rules that count, of those in force along a line of units, nearest first."""
    decided: dict[str, list[ReminderRule]] = {}
    for here in line:
        said = defaultdict[str, list[ReminderRule]](list)
        for rule in here:
            said[rule.channel].append(rule)
        for channel, rules in said.items():
            decided.setdefault(channel, rules)
    return [r for rules in decided.values() for r in rules if r.minutes_before is not None]


async def line_of(session: AsyncSession, agent: Agent, unit_id: uuid.UUID) -> list[OrgUnit]:
    """The unit and those above it, nearest first."""
    up = (
        select(OrgUnit.id, OrgUnit.parent_id)
        .where(OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id == unit_id)
        .cte("up", recursive=True)
    )
    above = aliased(OrgUnit)
    up = up.union_all(
        select(above.id, above.parent_id).where(
            above.tenant_id == agent.tenant_id, above.id == up.c.parent_id
        )
    )
    found = await session.scalars(
        select(OrgUnit).where(OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id.in_(select(up.c.id)))
    )
    units = {unit.id: unit for unit in found}
    return _line(units, unit_id)


def _line(units: Mapping[uuid.UUID, OrgUnit], unit_id: uuid.UUID) -> list[OrgUnit]:
    line: list[OrgUnit] = []
    at: uuid.UUID | None = unit_id
    while at is not None and at in units and len(line) < LEVELS:
        line.append(units[at])
        at = units[at].parent_id
    return line


async def manner_at(session: AsyncSession, agent: Agent, line: Sequence[OrgUnit]) -> Manner:
    """The settings that count at the first unit of a line."""
    found = await session.scalars(
        select(ReminderSetting).where(
            ReminderSetting.tenant_id == agent.tenant_id,
            ReminderSetting.unit_id.in_([unit.id for unit in line]),
        )
    )
    by_unit = {setting.unit_id: setting for setting in found}
    return manner([by_unit[unit.id] for unit in line if unit.id in by_unit])


async def wording_at(
    session: AsyncSession, agent: Agent, line: Sequence[OrgUnit], language: str | None
) -> Wording:
    """The wording for a patient of this language (BCP 47; `pt-BR` is content with `pt`)."""
    wanted = _languages(language)
    found = await session.scalars(
        select(ReminderTemplate).where(
            ReminderTemplate.tenant_id == agent.tenant_id,
            ReminderTemplate.unit_id.in_([unit.id for unit in line]),
            ReminderTemplate.active,
        )
    )
    order = [unit.id for unit in line]
    rows = sorted(found, key=lambda row: order.index(row.unit_id))
    for tag in wanted:
        for row in rows:
            if row.language.lower() == tag:
                return Wording(row.language, row.subject, row.body)
    return DEFAULT


def _languages(language: str | None) -> list[str]:
    """The tags to look for, the wanted one first: without its parts from the end, at last English."""
    parts = (language or "").lower().split("-")
    tags = ["-".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return [*dict.fromkeys([*filter(None, tags), DEFAULT.language])]


async def rules_everywhere(session: AsyncSession, agent: Agent) -> list[RuleAtPlace]:
    """The rules that count at each open clinic and department of the health system."""
    mine = agent.tenant_id
    in_force = select(ReminderRule).where(ReminderRule.tenant_id == mine, ReminderRule.active)
    rules = _by_unit(await session.scalars(in_force))
    if not any(rule.minutes_before for rows in rules.values() for rule in rows):
        return []
    spoken = select(ReminderSetting).where(ReminderSetting.tenant_id == mine)
    settings = _by_unit(await session.scalars(spoken))
    found = await session.scalars(select(OrgUnit).where(OrgUnit.tenant_id == mine))
    units = {unit.id: unit for unit in found}
    out = []
    for unit in units.values():
        if unit.clinic_id is None or not all(u.active for u in (unit, units[unit.clinic_id])):
            continue
        line = _line(units, unit.id)
        here = manner([row for u in line for row in settings.get(u.id, ())])
        hours = here.quiet_from, here.quiet_until
        zone = units[unit.clinic_id].zone or "UTC"
        counting = rules_of([rules.get(u.id, ()) for u in line])
        out += [RuleAtPlace(unit.id, r, r.minutes_before or 0, zone, *hours) for r in counting]
    return out


def _by_unit(rows: Iterable[Spoken]) -> dict[uuid.UUID, list[Spoken]]:
    out = defaultdict[uuid.UUID, list[Spoken]](list)
    for row in rows:
        out[row.unit_id].append(row)
    return out
