"""The types of opening hours and reminders, as the schema describes them."""

from tests.oracle.shapes import Leaf, Type, columns, enums, one

UNIT = one("OrgUnit", "org_unit", "unit_id")
SERVICE = one("HealthcareService", "healthcare_service", "service_id")
RESOURCE = one("BookableResource", "bookable_resource", "resource_id")
CALENDAR = (
    Type(
        "HealthcareService",
        "healthcare_service",
        "schedule:read",
        {**columns("name minutes active version"), "unit": UNIT},
    ),
    Type(
        "ScheduleRule",
        "schedule_rule",
        "schedule:read",
        {
            "weekdays": Leaf(lambda _, row: [day.upper() for day in row.weekdays]),
            **columns("opens closes minutes step bufferBefore bufferAfter validFrom validUntil"),
            **columns("active version"),
            "unit": UNIT,
            "resource": RESOURCE,
            "service": SERVICE,
        },
    ),
    Type(
        "ScheduleClosure",
        "schedule_closure",
        "schedule:read",
        {
            **columns("firstOn lastOn fromTime untilTime reason active version"),
            "unit": UNIT,
            "resource": RESOURCE,
        },
    ),
    Type(
        "ReminderRule",
        "reminder_rule",
        "reminder_rule:read",
        {**enums("channel"), **columns("minutesBefore active since version"), "unit": UNIT},
    ),
    Type(
        "ReminderSettings",
        "reminder_setting",
        "reminder_rule:read",
        {
            **columns("quietFrom quietUntil displayName phone version"),
            **columns("webhookUrl", opens="reminder_rule:manage", group="IDENTIFIERS"),
            "unit": UNIT,
        },
        {"IDENTIFIERS": lambda sight, row: sight.may("reminder_rule:manage", row)},
    ),
    Type(
        "ReminderTemplate",
        "reminder_template",
        "reminder_rule:read",
        {**columns("language subject body active version"), "unit": UNIT},
    ),
    Type(
        "Reminder",
        "reminder",
        "appointment:read",
        {
            **enums("channel state cause"),
            **columns("dueAt sentAt attempts"),
            "appointment": one("Appointment", "appointment", "appointment_id"),
            "rule": one("ReminderRule", "reminder_rule", "rule_id"),
        },
    ),
)
