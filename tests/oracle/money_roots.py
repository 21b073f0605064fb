"""The root fields of billing, as the schema describes them; `EVERY_ROOT` is all that there are."""

import datetime as dt
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from domain.patients import fold
from tests.oracle.directories import scim_sync
from tests.oracle.fields import TYPES
from tests.oracle.logins import login_rules, mfa_preview, mfa_settings, sessions
from tests.oracle.money import AGES
from tests.oracle.provider_types import PAGES, TABLES
from tests.oracle.roots import (
    NOTHING,
    ROOTS,
    Picked,
    Refused,
    Wanted,
    by_id,
    page,
    parse,
    placed,
)
from tests.oracle.rules import Sight
from tests.oracle.shapes import Arguments, ordered

Ages = Callable[[Any], Any]
"""A patient, or None for all, to the sums by age."""
Fits = Callable[[Wanted], Callable[[Any], bool]]


def _fits(args: Arguments, *enums: str) -> Fits:
    """Rows of the patient, the encounter and the states that are asked for."""

    def fits(wanted: Wanted) -> Callable[[Any], bool]:
        patient = wanted.id(args, "patient", "Patient")
        encounter = wanted.id(args, "encounter", "Encounter")
        said = {name: args[name] for name in enums if args.get(name) is not None}
        return lambda row: (
            (patient is None or row.patient_id == patient)
            and (encounter is None or row.encounter_id == encounter)
            and all(getattr(row, n).replace("-", "_").upper() == v for n, v in said.items())
        )

    return fits


def claims(sight: Sight, args: Arguments) -> Picked:
    fits = _fits(args, "queue", "state")
    return placed(sight, args, TYPES["Claim"], ("recorded_at", "id"), fits)


def postings(sight: Sight, args: Arguments) -> Picked:
    return placed(sight, args, TYPES["Posting"], ("-posted_at", "-id"), _fits(args))


def charges(sight: Sight, args: Arguments) -> Picked:
    fits = _fits(args, "state")
    return placed(sight, args, TYPES["ChargeItem"], ("-occurred_at", "-id"), fits)


def payers(sight: Sight, args: Arguments) -> Picked:
    search = args.get("search")
    words = None if search is None else fold(search)
    if words == "":
        raise Refused
    return page(
        Wanted(sight, args),
        TYPES["Payer"],
        ("name_key", "id"),
        sight.visible("payer"),
        lambda row: words is None or row.name_key.startswith(words),
        closed=not sight.anywhere("payer:read"),
    )


def _listed(
    sight: Sight, name: str, column: str, id_: uuid.UUID | None, order: tuple[str, ...]
) -> Picked:
    """A plain list: all rows that name this one."""
    type_ = TYPES[name]
    if id_ is None:
        return NOTHING
    if not sight.anywhere(type_.permission or ""):
        return Picked(None, "DEMOGRAPHICS")
    rows = sight.rows.where(type_.table or "", column, id_)
    seen = [row for row in rows if sight.may(type_.permission or "", row)]
    return Picked([(type_, row) for row in ordered(seen, order)])


def coverages(sight: Sight, args: Arguments) -> Picked:
    patient = parse(args["patient"], "Patient")
    return _listed(sight, "Coverage", "patient_id", patient, ("priority", "-starts_on", "id"))


def daily_closes(sight: Sight, args: Arguments) -> Picked:
    clinic = parse(args["clinic"], "OrgUnit")
    if clinic is not None and sight.rows.get("org_unit", clinic) is None:
        return NOTHING
    return _listed(sight, "DailyClose", "clinic_id", clinic, ("-day", "id"))


def receivables(sight: Sight, args: Arguments) -> Picked:
    return _of_books(sight, args, lambda ages: Picked((TYPES["Receivables"], ages(None))))


def debtors(sight: Sight, args: Arguments) -> Picked:
    """Whoever owes something or has credit, of the patients that one sees at the clinic."""

    def listed(ages: Ages) -> Picked:
        at = parse(args["clinic"], "OrgUnit")
        rows = []
        for patient in sight.visible("patient"):
            sites = sight.rows.where("patient_site", "patient_id", patient.id)
            here = (s.unit_id for s in sites if at in sight.line(s.unit_id))
            found = ages(patient)
            if any(sight.at("patient:read", unit) for unit in here) and found.any:
                key = {"id": patient.id, "family_key": patient.family_key}
                rows.append(SimpleNamespace(patient=patient, receivables=found, **key))
        type_, order = TYPES["PatientReceivables"], ("family_key", "id")
        return page(Wanted(sight, args), type_, order, rows, lambda _: True, closed=False)

    return _of_books(sight, args, listed)


def _of_books(sight: Sight, args: Arguments, told: Callable[[Ages], Picked]) -> Picked:
    """What is told of the ages of what was open at a clinic at the end of a day: of all patients or of one."""
    id_ = parse(args["clinic"], "OrgUnit")
    clinic = sight.rows.get("org_unit", id_) if id_ else None
    if clinic is None or clinic.clinic_id != clinic.id:
        return NOTHING
    if not sight.reaches("invoice:read", clinic.id):
        return Picked(None, "BILLING")
    zone, day = ZoneInfo(clinic.zone), dt.date.fromisoformat(args["on"])
    until = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), zone)
    rows = sight.rows

    def seen(table: str, permission: str, at: str) -> list[Any]:
        there = rows.where(table, "clinic_id", clinic.id)
        return [r for r in there if sight.may(permission, r) and _before(getattr(r, at), until)]

    every = (
        seen("allocation", "posting:read", "allocated_at"),
        seen("invoice", "invoice:read", "issued_at"),
        seen("posting", "posting:read", "posted_at"),
    )

    def ages(patient: Any) -> Any:
        parts, bills, postings = (
            [r for r in listed if patient is None or r.patient_id == patient.id] for listed in every
        )
        sums = dict.fromkeys((*(name for name, *_ in AGES), "over90Days"), 0)
        some = False
        for bill in bills:
            taken_back = bill.cancelled_at is not None and bill.cancelled_at < until
            if bill.state == "entered-in-error" or taken_back:
                continue
            age = (day - bill.issued_at.astimezone(zone).date()).days
            name = next((n for n, low, high in AGES if low <= age <= high), "over90Days")
            for line in rows.where("invoice_line", "invoice_id", bill.id):
                applied = sum(p.amount_minor for p in parts if p.invoice_line_id == line.id)
                sums[name] += line.amount_minor - applied
                some = some or line.amount_minor != applied
        unapplied = sum(p.amount_minor for p in postings) - sum(p.amount_minor for p in parts)
        total = sum(sums.values()) - unapplied
        any_ = some or unapplied != 0
        return SimpleNamespace(**sums, unapplied=unapplied, total=total, any=any_)

    return told(ages)


def _before(at: dt.datetime | None, until: dt.datetime) -> bool:
    return at is not None and at < until


def reminders(sight: Sight, args: Arguments) -> Picked:
    """Reminders are read as their appointments are."""
    type_, wanted = TYPES["Reminder"], Wanted(sight, args)
    at, state = wanted.node(), args.get("state")
    rows = [
        row
        for row in sight.rows.all("reminder")
        if sight.may("appointment:read", row) and (at is None or at in sight.line(row.unit_id))
    ]
    return page(
        wanted,
        type_,
        ("-due_at", "-id"),
        rows,
        lambda row: state is None or row.state.upper() == state,
        closed=not sight.reaches("appointment:read", at),
    )


def at_unit(name: str, *order: str) -> Callable[[Sight, Arguments], Picked]:
    """What is said at a unit, below it and above it; of what can be withdrawn what is in force."""

    def root(sight: Sight, args: Arguments) -> Picked:
        wanted = Wanted(sight, args)
        at = wanted.node()
        if at is None or not wanted.possible:
            return NOTHING
        if not sight.anywhere("reminder_rule:read"):
            return Picked(None, "DEMOGRAPHICS")
        type_ = TYPES[name]
        rows = [
            row
            for row in sight.rows.all(type_.table or "")
            if getattr(row, "active", True)
            and (at in sight.line(row.unit_id) or row.unit_id in sight.line(at))
        ]
        return Picked([(type_, row) for row in ordered(rows, (*order, "id"))])

    return root


def about_providers(root: str) -> Callable[[Sight, Arguments], Picked]:
    """A page of what an administrator sees of identity providers."""
    name, order = PAGES[root]
    type_ = TYPES[name]

    def listed(sight: Sight, args: Arguments) -> Picked:
        rows = [row for row in sight.rows.all(TABLES[root]) if sight.may("tenant:read", row)]
        wanted = Wanted(sight, args)
        whose, state = wanted.id(args, "person", "Person"), args.get("state")

        def fits(row: Any) -> bool:
            return (whose is None or row.person_id == whose) and (
                state is None or row.state.upper() == state
            )

        closed = not sight.anywhere("tenant:read")
        return page(wanted, type_, order, rows, fits, closed=closed)

    return listed


EVERY_ROOT: dict[str, Callable[[Sight, Arguments], Picked]] = {
    **ROOTS,
    "claim": by_id(TYPES["Claim"]),
    "claims": claims,
    "reminders": reminders,
    "reminderRules": at_unit("ReminderRule", "since"),
    "reminderSettings": at_unit("ReminderSettings"),
    "reminderTemplates": at_unit("ReminderTemplate", "language"),
    "postings": postings,
    "charges": charges,
    "payers": payers,
    "coverages": coverages,
    "dailyCloses": daily_closes,
    "receivables": receivables,
    "debtors": debtors,
    "sessions": sessions,
    "loginRules": login_rules,
    "mfaPreview": mfa_preview,
    "mfaSettings": mfa_settings,
    "scimSync": scim_sync,
    **{root: about_providers(root) for root in PAGES},
}
