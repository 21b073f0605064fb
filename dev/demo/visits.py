"""Appointments and encounters of a patient, with notes, measurements and diagnoses."""

import datetime as dt
import random
import uuid
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy.dialects.postgresql import Range

from dev.demo import clinical
from dev.demo.calendar import SLOT, Calendar
from dev.demo.ids import Ids
from dev.demo.patients import Home, Made
from dev.demo.rows import Batch
from domain.keys import Sealer

PAST = ("fulfilled",) * 14 + ("noshow", "cancelled", "cancelled", "entered-in-error")
UNDER_WAY = ("fulfilled", "fulfilled", "checked-in", "checked-in", "arrived", "noshow", "cancelled")
UNDER_WAY_UNTIL = 10
LATER_TODAY = ("booked",) * 7 + ("cancelled",)
AHEAD = ("booked",) * 12 + ("pending", "proposed", "cancelled", "waitlist")
OF_APPOINTMENT = {"fulfilled": "finished", "checked-in": "in-progress", "arrived": "arrived"}
EARLIER = ("finished",) * 20 + ("cancelled", "entered-in-error", "in-progress", "onleave")
KINDS = ("AMB",) * 12 + ("VR", "EMER", "HH", "IMP")
HISTORY_DAYS = 3 * 365


@dataclass(frozen=True)
class Visit:
    """An encounter that was put into the batch, for the bill that follows."""

    id: uuid.UUID
    patient: Made
    home: Home
    started_at: dt.datetime
    finished: bool
    practitioner_id: uuid.UUID
    documented: bool
    place: dict[str, object]


@dataclass
class Desk:
    """What the rows of one batch are made with. `today` is a day in UTC; `sealer` None leaves notes out."""

    batch: Batch
    tenant_id: uuid.UUID
    today: dt.date
    ids: Ids
    chance: random.Random
    calendar: Calendar
    sealer: Sealer | None
    records: bool

    def place(self, patient: Made, home: Home) -> dict[str, object]:
        """The first columns of a new placed row."""
        return {
            "tenant_id": self.tenant_id,
            "id": self.ids.new(),
            "clinic_id": home.clinic.id,
            "unit_id": home.unit_id,
            "patient_id": patient.id,
            "sensitivity": patient.sensitivity,
        }


def book(desk: Desk, patient: Made) -> list[Visit]:
    """An appointment in the weeks around today and, where the patient came, its encounter: that is answered."""
    home = desk.chance.choice(patient.homes)
    doctor = desk.chance.choice(home.clinic.doctors)
    starts = desk.calendar.next(doctor.id, home.clinic.zone)
    if starts is None:
        return []
    states = _states(starts, desk.today, home.clinic.zone)
    state = desk.chance.choice(states)
    if not patient.alive and states is not PAST:
        state = "cancelled"
    ends = starts + SLOT / desk.chance.choice((1, 1, 1, 2))
    place = desk.place(patient, home)
    complaint = desk.chance.choice(clinical.COMPLAINTS)
    desk.batch.add(
        "appointment",
        {
            **place,
            "practitioner_id": doctor.id,
            "state": state,
            "starts_at": starts,
            "ends_at": ends,
            "reason": complaint.reason,
            "comment": "Needs an interpreter" if desk.chance.random() < 0.05 else None,
        },
    )
    desk.batch.add(
        "appointment_block",
        {
            "tenant_id": desk.tenant_id,
            "id": desk.ids.new(),
            "clinic_id": home.clinic.id,
            "unit_id": home.unit_id,
            "appointment_id": place["id"],
            "resource_id": doctor.id,
            "state": state,
            "block": Range(starts, ends),
        },
    )
    if state not in OF_APPOINTMENT:
        return []
    became = OF_APPOINTMENT[state]
    return [
        _encounter(desk, patient, home, doctor.id, became, starts, ends, complaint, place["id"])
    ]


def _states(starts: dt.datetime, today: dt.date, zone: str) -> tuple[str, ...]:
    """What an appointment can have become: today's are under way until ten o'clock at the clinic."""
    local = starts.astimezone(ZoneInfo(zone))
    if local.date() == today:
        return UNDER_WAY if local.hour < UNDER_WAY_UNTIL else LATER_TODAY
    return PAST if local.date() < today else AHEAD


def earlier(desk: Desk, patient: Made) -> Visit:
    """An encounter of the last three years, made without an appointment."""
    chance = desk.chance
    home = patient.homes[0] if len(patient.homes) == 1 else chance.choice(patient.homes)
    days = min(HISTORY_DAYS, patient.days_old - 1)  # nobody is seen before they are born
    minutes = chance.randint(2 * 24 * 60, days * 24 * 60) // 5 * 5
    midnight = dt.datetime.combine(desk.today, dt.time(), dt.UTC)
    started = midnight - dt.timedelta(minutes=minutes)
    ended = started + dt.timedelta(minutes=chance.choice((10, 15, 20, 30, 45)))
    doctor = chance.choice(home.clinic.doctors)
    complaint = chance.choice(clinical.COMPLAINTS)
    state = chance.choice(EARLIER)
    return _encounter(desk, patient, home, doctor.id, state, started, ended, complaint, None)


def _encounter(
    desk: Desk,
    patient: Made,
    home: Home,
    practitioner_id: uuid.UUID,
    state: str,
    started: dt.datetime,
    ended: dt.datetime,
    complaint: clinical.Complaint,
    appointment_id: object,
) -> Visit:
    place = desk.place(patient, home)
    finished = state == "finished"
    desk.batch.add(
        "encounter",
        {
            **place,
            "practitioner_id": practitioner_id,
            "appointment_id": appointment_id,
            "state": state,
            "kind": desk.chance.choice(KINDS),
            "reason": complaint.reason,
            "started_at": started,
            "ended_at": ended if finished else None,
        },
    )
    documented = desk.records and state not in ("cancelled", "entered-in-error")
    visit = Visit(
        place["id"],  # type: ignore[arg-type]  # an id by construction
        patient,
        home,
        started,
        finished,
        practitioner_id,
        documented,
        place,
    )
    if documented:
        _measure(desk, visit)
        _diagnose(desk, visit, complaint)
        _note(desk, visit)
    return visit


def _follow(desk: Desk, visit: Visit) -> dict[str, object]:
    """The first columns of a row of the visit."""
    return {**visit.place, "id": desk.ids.new(), "encounter_id": visit.id}


def _measure(desk: Desk, visit: Visit) -> None:
    fitting = [v for v in clinical.VITALS if v.from_years * 365 <= visit.patient.days_old]
    for vital in desk.chance.sample(fitting, desk.chance.choice((0, 0, 1, 2, 3))):
        value = round(desk.chance.uniform(vital.low, vital.high), vital.digits)
        desk.batch.add(
            "observation",
            {
                **_follow(desk, visit),
                "code": vital.code,
                "display": vital.display,
                "value_quantity": value if vital.digits else int(value),
                "unit": vital.unit,
                "effective_at": visit.started_at + dt.timedelta(minutes=5),
                "recorded_by": None,
            },
        )


def _diagnose(desk: Desk, visit: Visit, complaint: clinical.Complaint) -> None:
    if desk.chance.random() < 0.45:
        desk.batch.add(
            "condition",
            {
                **_follow(desk, visit),
                "clinical_status": desk.chance.choice(("active", "active", "resolved")),
                "code_system": clinical.ICD10,
                "code": complaint.code,
                "display": complaint.display,
                "onset_on": visit.started_at.date(),
                "recorded_at": visit.started_at + dt.timedelta(minutes=8),
            },
        )


def _note(desk: Desk, visit: Visit) -> None:
    here = (visit.home.clinic.id, visit.home.unit_id)
    authors = [a for a in visit.home.clinic.authors if a.unit_id in here]
    if desk.sealer is None or not authors or desk.chance.random() < 0.4:
        return
    author = desk.chance.choice(authors)
    texts = clinical.NURSING_NOTES if author.kind == "nursing" else clinical.PROGRESS_NOTES
    signed = visit.finished and desk.chance.random() < 0.75
    row = _follow(desk, visit)
    written = visit.started_at + dt.timedelta(minutes=12)
    body = desk.chance.choice(texts).encode()
    desk.batch.add(
        "note",
        {
            **row,
            "author_id": author.person_id,
            "kind": author.kind,
            "state": "signed" if signed else "draft",
            "body_sealed": desk.sealer.seal("note.body_sealed", row["id"], body),  # type: ignore[arg-type]  # an id by construction
            "signed_at": written if signed else None,
        },
    )
