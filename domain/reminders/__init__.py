"""Reminders of appointments: rules and what they say, what comes due, and each one that was sent."""

from domain.reminders.commands import (
    RuleExists,
    add_rule,
    change_rule,
    checked_url,
    set_manner,
    set_template,
    set_webhook,
    withdraw_template,
)
from domain.reminders.deliveries import Attempt, Ended, begin, finish
from domain.reminders.due import look, watch
from domain.reminders.notifier import Endpoint, Message, Notifier, NotTaken, Refused
from domain.reminders.record import (
    Cause,
    Channel,
    Reminder,
    ReminderRule,
    ReminderSetting,
    ReminderState,
    ReminderTemplate,
    ReminderWatch,
)

__all__ = [
    "Attempt",
    "Cause",
    "Channel",
    "Ended",
    "Endpoint",
    "Message",
    "NotTaken",
    "Notifier",
    "Refused",
    "Reminder",
    "ReminderRule",
    "ReminderSetting",
    "ReminderState",
    "ReminderTemplate",
    "ReminderWatch",
    "RuleExists",
    "add_rule",
    "begin",
    "change_rule",
    "checked_url",
    "finish",
    "look",
    "set_manner",
    "set_template",
    "set_webhook",
    "watch",
    "withdraw_template",
]
