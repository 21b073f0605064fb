"""Documents that select everything there is, made from the oracle's own list of types."""

from functools import cache

from tests.oracle.fields import TYPES
from tests.oracle.provider_types import PAGES
from tests.oracle.shapes import Many, One, Struct

MONEY = "{amount currency}"


@cache
def everything(type_name: str, depth: int) -> str:
    """All fields of a type, those of its links down to `depth`."""
    type_ = TYPES[type_name]
    parts = ["__typename"]
    if type_.table is not None:
        parts.append("id")
    if type_.groups:
        parts.append("maskedGroups")
    for name, shape in type_.fields.items():
        if isinstance(shape, Struct):
            parts.append(name + MONEY)
        elif not isinstance(shape, One | Many):
            parts.append(name)
        elif depth > 0:
            parts.append(name + everything(shape.type, depth - 1))
            if isinstance(shape, Many) and shape.struck:
                parts.append(f"all_{name}:{name}(includeEnteredInError:true first:100){{id}}")
    return "{" + " ".join(parts) + "}"


PAGE_INFO = "{hasNextPage hasPreviousPage startCursor endCursor}"


def connection(type_name: str, depth: int) -> str:
    """A whole connection."""
    row = everything(type_name, depth)
    return f"{{totalCount totalCountIsExact edges{{cursor node{{id}}}} nodes{row} pageInfo{PAGE_INFO}}}"


LISTS = {
    "patients": "Patient",
    "encounters": "Encounter",
    "appointments": "Appointment",
    "waitlist": "WaitlistEntry",
    "reminders": "Reminder",
    "invoices": "Invoice",
    "chargeMaster": "ChargeMasterEntry",
    "practitioners": "Practitioner",
    "people": "Person",
    "claims": "Claim",
    "charges": "ChargeItem",
    "postings": "Posting",
    "payers": "Payer",
    "grants": "Grant",
    "grantRequests": "GrantRequest",
    **{root: type_ for root, (type_, _) in PAGES.items()},
}
"""Root fields that are pages, and what they list."""
AT_A_NODE = (
    "waitlist",
    "reminders",
    "patients",
    "encounters",
    "appointments",
    "invoices",
    "claims",
    "charges",
    "postings",
    "practitioners",
    "people",
    "grants",
)
AT_CLINIC = {
    "healthcareServices": "HealthcareService",
    "scheduleRules": "ScheduleRule",
    "scheduleClosures": "ScheduleClosure",
}
"""Root fields that are plain lists of a clinic, and what they list."""
AT_UNIT = {
    "reminderRules": "ReminderRule",
    "reminderSettings": "ReminderSettings",
    "reminderTemplates": "ReminderTemplate",
}
"""Root fields that are plain lists of a unit, what is below it and what is above it, and what they list."""
