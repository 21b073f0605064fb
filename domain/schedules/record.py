"""What is stored of opening hours: services, weekly rules and closures, all in the clinic's own time.

FHIR: HealthcareService (https://hl7.org/fhir/R4/healthcareservice.html) with its availableTime and notAvailable. Open
slots are never stored: `open_windows` in the database expands the rules for the days that are asked for.
"""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, Stamped


class Weekday(StrEnum):
    """https://hl7.org/fhir/R4/valueset-days-of-week.html"""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _at_unit() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", "unit_id", "clinic_id"],
        ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
    )


def _of_resource() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", "resource_id"], ["bookable_resource.tenant_id", "bookable_resource.id"]
    )


class HealthcareService(Stamped, Identified):
    """What visits are made for at a clinic or department; `minutes` is how long one usually takes."""

    __tablename__ = "healthcare_service"
    __resource__ = "schedule"
    __table_args__ = (
        _at_unit(),
        CheckConstraint("minutes between 5 and 480", name="minutes"),
        Index("ix_healthcare_service_clinic", "tenant_id", "clinic_id", "name", "id"),
    )

    clinic_id: Mapped[uuid.UUID]
    unit_id: Mapped[uuid.UUID]
    name: Mapped[str]
    minutes: Mapped[int] = mapped_column(SmallInteger)
    active: Mapped[bool] = mapped_column(server_default="true")


class ScheduleRule(Stamped, Identified):
    """A weekly window in which a resource may be booked; without a resource, every practitioner without own rules.

    A visit begins a multiple of `step` minutes after `opens` and takes a multiple of `minutes`. `closes` at or before
    `opens` is on the next day. `valid_until` is the last day. The buffers are kept free around each visit. A rule of a
    service takes visits of that service only.
    """

    __tablename__ = "schedule_rule"
    __resource__ = "schedule"
    __table_args__ = (
        _at_unit(),
        _of_resource(),
        ForeignKeyConstraint(
            ["tenant_id", "service_id"], ["healthcare_service.tenant_id", "healthcare_service.id"]
        ),
        CheckConstraint("minutes between 5 and 480", name="minutes"),
        CheckConstraint("step between 5 and 480", name="step"),
        CheckConstraint(
            "buffer_before between 0 and 240 and buffer_after between 0 and 240", name="buffers"
        ),
        CheckConstraint(
            "cardinality(weekdays) > 0 and weekdays <@ array['mon','tue','wed','thu','fri','sat','sun']",
            name="weekdays",
        ),
        CheckConstraint("valid_until is null or valid_until >= valid_from", name="validity"),
        Index("ix_schedule_rule_clinic", "tenant_id", "clinic_id", "resource_id", "id"),
    )

    clinic_id: Mapped[uuid.UUID]
    unit_id: Mapped[uuid.UUID]
    resource_id: Mapped[uuid.UUID | None]
    service_id: Mapped[uuid.UUID | None]
    weekdays: Mapped[list[Any]] = mapped_column(ARRAY(Text))
    opens: Mapped[dt.time]
    closes: Mapped[dt.time]
    minutes: Mapped[int] = mapped_column(SmallInteger)
    step: Mapped[int] = mapped_column(SmallInteger)
    buffer_before: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    buffer_after: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    valid_from: Mapped[dt.date]
    valid_until: Mapped[dt.date | None]
    active: Mapped[bool] = mapped_column(server_default="true")


class ScheduleClosure(Stamped, Identified):
    """Days on which a place is closed or, with a resource, somebody is away; whole days, or between two times of each.

    Without `from_time` from midnight on, without `until_time` to the next midnight. `active` is false once withdrawn.
    """

    __tablename__ = "schedule_closure"
    __resource__ = "schedule"
    __table_args__ = (
        _at_unit(),
        _of_resource(),
        CheckConstraint("last_on >= first_on", name="days"),
        CheckConstraint(
            "from_time is null or until_time is null or until_time > from_time", name="times"
        ),
        Index("ix_schedule_closure_clinic", "tenant_id", "clinic_id", "last_on", "id"),
    )

    clinic_id: Mapped[uuid.UUID]
    unit_id: Mapped[uuid.UUID]
    resource_id: Mapped[uuid.UUID | None]
    first_on: Mapped[dt.date]
    last_on: Mapped[dt.date]
    from_time: Mapped[dt.time | None]
    until_time: Mapped[dt.time | None]
    reason: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")
