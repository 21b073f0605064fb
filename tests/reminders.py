"""Builds rows of reminders; as `tests/make.py`, nothing is saved."""

import datetime as dt
from typing import Any

from domain.appointments import Appointment
from domain.model import new_id
from domain.organization import OrgUnit
from domain.reminders import (
    Reminder,
    ReminderRule,
    ReminderSetting,
    ReminderTemplate,
    ReminderWatch,
)
from tests import make

SINCE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def _at(node: OrgUnit) -> dict[str, Any]:
    return {"tenant_id": node.tenant_id, "id": new_id(), "unit_id": node.id}


def rule(node: OrgUnit, **values: Any) -> ReminderRule:
    """By e-mail a day before, for years."""
    defaults = {"channel": "email", "minutes_before": 24 * 60, "active": True, "since": SINCE}
    return ReminderRule(**_at(node) | defaults | values)


def setting(node: OrgUnit, **values: Any) -> ReminderSetting:
    """Nothing that differs from the unit above."""
    return ReminderSetting(**_at(node) | values)


def template(node: OrgUnit, **values: Any) -> ReminderTemplate:
    """An English wording."""
    defaults = {"language": "en", "subject": "On {date}", "body": "At {time}.", "active": True}
    return ReminderTemplate(**_at(node) | defaults | values)


def reminder(visit: Appointment, of: ReminderRule, **values: Any) -> Reminder:
    """One that is due."""
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    kept = {name: getattr(visit, name) for name in names}
    minutes = dt.timedelta(minutes=of.minutes_before or 0)
    defaults = {
        "id": new_id(),
        "appointment_id": visit.id,
        "rule_id": of.id,
        "channel": of.channel,
        "state": "due",
        "due_at": visit.starts_at - minutes,
    }
    return Reminder(**kept | defaults | values)


def watch(node: OrgUnit, **values: Any) -> ReminderWatch:
    """A calendar that nobody looks through."""
    defaults = {"checked_until": make.NOW, "looks_at": None}
    return ReminderWatch(**{"tenant_id": node.tenant_id} | defaults | values)
