"""When places, practitioners, rooms and devices can be booked."""

from domain.schedules.commands import (
    Hours,
    add_rule,
    add_service,
    change_rule,
    change_service,
    close,
    places_bound,
    reopen,
)
from domain.schedules.openings import (
    ASKED,
    FORMS,
    DoesNotFit,
    OutsideHours,
    Slot,
    StartNotOffered,
    Window,
    kept_blocks,
    open_slots,
    require_open,
    require_service,
    windows_of,
)
from domain.schedules.record import HealthcareService, ScheduleClosure, ScheduleRule, Weekday

__all__ = [
    "ASKED",
    "FORMS",
    "DoesNotFit",
    "HealthcareService",
    "Hours",
    "OutsideHours",
    "ScheduleClosure",
    "ScheduleRule",
    "Slot",
    "StartNotOffered",
    "Weekday",
    "Window",
    "add_rule",
    "add_service",
    "change_rule",
    "change_service",
    "close",
    "kept_blocks",
    "open_slots",
    "places_bound",
    "reopen",
    "require_open",
    "require_service",
    "windows_of",
]
