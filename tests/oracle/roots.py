"""The root fields, as the schema describes them, over plain rows."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from domain.patients import fold
from tests.oracle.fields import NODE_TYPES, TYPES
from tests.oracle.hours import Hours
from tests.oracle.rules import Sight
from tests.oracle.shapes import Arguments, Type, ordered, plain


class Refused(Exception):
    """The input cannot be taken; the field is null and the response names it."""


@dataclass(frozen=True)
class Values:
    """An object without a row: its type's name and its fields, or functions of their arguments."""

    type: str
    of: Mapping[str, Any]


@dataclass(frozen=True)
class Listing:
    """A page: `rows` are all that there are, in order, `page` those of this page."""

    type: Type
    rows: Sequence[Any]
    page: Sequence[Any]
    more: bool
    begun: bool


@dataclass(frozen=True)
class Picked:
    """(type, row), a list of those, a Listing, Values or None; `hidden` names the group of a refused whole."""

    value: Any
    hidden: str | None = None


NOTHING = Picked(None)


def parse(id_: str, prefix: str) -> uuid.UUID | None:
    """The id inside `Patient:…`."""
    kind, _, rest = id_.partition(":")
    try:
        return uuid.UUID(rest) if kind == prefix else None
    except ValueError:
        return None


def by_id(type_: Type) -> Callable[[Sight, Arguments], Picked]:
    """A root field `type(id:)`."""

    def root(sight: Sight, args: Arguments) -> Picked:
        return one(sight, type_, args["id"])

    return root


def one(sight: Sight, type_: Type, id_: str) -> Picked:
    """The row of this id, where it may be read."""
    found = parse(id_, type_.name)
    row = found and sight.rows.get(type_.table or "", found)
    if not row or not sight.may(type_.permission or "", row):
        return NOTHING
    return Picked((type_, row))


def node(sight: Sight, args: Arguments) -> Picked:
    type_ = TYPES.get(args["id"].partition(":")[0])
    return one(sight, type_, args["id"]) if type_ in NODE_TYPES and type_ else NOTHING


def nodes(sight: Sight, args: Arguments) -> Picked:
    if len(args["ids"]) > 100:
        raise Refused
    return Picked([node(sight, {"id": id_}).value for id_ in args["ids"]])


def account(sight: Sight, args: Arguments) -> Picked:
    kind, _, rest = args["patient"].partition(":")
    return one(sight, TYPES["Account"], f"Account:{rest}") if kind == "Patient" else NOTHING


# -- pages --------------------------------------------------------------------------------------


@dataclass
class Wanted:
    """What a page's arguments ask for: false once they name something that cannot be there."""

    sight: Sight
    args: Arguments
    possible: bool = True

    def id(self, args: Arguments, name: str, prefix: str) -> uuid.UUID | None:
        """An id argument."""
        value = args.get(name)
        if value is None:
            return None
        found = parse(value, prefix)
        self.possible = self.possible and found is not None
        return found

    def node(self) -> uuid.UUID | None:
        """The unit below which the rows lie; one of another health system is not there."""
        found = self.id(self.args, "node", "OrgUnit")
        if found is not None and self.sight.rows.get("org_unit", found) is None:
            self.possible = False
        return found


def page(
    wanted: Wanted,
    type_: Type,
    order: Sequence[str],
    visible: list[Any],
    fits: Callable[[Any], bool],
    *,
    closed: bool,
) -> Picked:
    """A page of the rows that are visible at the node, fitting the filters. `closed`: no role reads any there."""
    args = wanted.args
    if not wanted.possible:
        return NOTHING
    first = args.get("first", 50)
    if not 0 <= first <= 100:
        raise Refused
    after = _cursor(args)
    if closed:
        return Picked(None, "DEMOGRAPHICS")
    in_order = ordered(visible, order)
    start = 0
    if after is not None:
        column = order[0].lstrip("-")  # a row without a value there stands nowhere in the order
        standing = (i + 1 for i, row in enumerate(in_order) if getattr(row, column) is not None)
        start = next((i for i in standing if in_order[i - 1].id == after), 0)
        if start == 0:
            raise Refused
    rows = [row for row in in_order[start:] if fits(row)]
    every = [row for row in in_order if fits(row)] if start else rows
    return Picked(Listing(type_, every, rows[:first], len(rows) > first, after is not None))


def _cursor(args: Arguments) -> uuid.UUID | None:
    after = args.get("after")
    if after is None:
        return None
    try:
        return uuid.UUID(after)
    except ValueError:
        raise Refused from None


def placed(
    sight: Sight,
    args: Arguments,
    type_: Type,
    order: Sequence[str],
    fits: Callable[[Wanted], Callable[[Any], bool]],
) -> Picked:
    """A page of rows that lie at a unit, at the node or below."""
    wanted = Wanted(sight, args)
    at = wanted.node()
    fitting = fits(wanted)
    closed = not sight.reaches(type_.permission or "", at)
    rows = [
        row for row in sight.visible(type_.resource) if at is None or at in sight.line(row.unit_id)
    ]
    return page(wanted, type_, order, rows, fitting, closed=closed)


def patients(sight: Sight, args: Arguments) -> Picked:
    wanted = Wanted(sight, args)
    at = wanted.node()
    fitting = _patient_filter(args.get("filter") or {})
    down = args.get("orderBy") == "FAMILY_NAME_DESC"
    rows = [row for row in sight.visible("patient") if at is None or _site_below(sight, row, at)]
    closed = not sight.reaches("patient:read", at)
    order = ("-family_key", "-id") if down else ("family_key", "id")
    return page(wanted, TYPES["Patient"], order, rows, fitting, closed=closed)


def _site_below(sight: Sight, patient: Any, at: uuid.UUID) -> bool:
    """Whether the patient has a site at the node or below where they may be read."""
    sites = sight.rows.where("patient_site", "patient_id", patient.id)
    return any(at in sight.line(s.unit_id) and sight.at("patient:read", s.unit_id) for s in sites)


def _patient_filter(wanted: Arguments) -> Callable[[Any], bool]:
    family, _, given = (wanted.get("name") or "").partition(",")
    family, given = fold(family), fold(given)
    if wanted.get("name") is not None and not (family or given):
        raise Refused

    def fits(patient: Any) -> bool:
        born, mrn = wanted.get("birthDate"), wanted.get("mrn")
        return (
            patient.family_key.startswith(family)
            and patient.given_key.startswith(given)
            and (born is None or plain(patient.birth_date) == born)
            and (mrn is None or patient.mrn == mrn)
        )

    return fits


def encounters(sight: Sight, args: Arguments) -> Picked:
    def fits(wanted: Wanted) -> Callable[[Any], bool]:
        asked = args.get("filter") or {}
        patient = wanted.id(asked, "patient", "Patient")
        practitioner = wanted.id(asked, "practitioner", "Practitioner")
        since, until = (_instant(asked.get(name)) for name in ("since", "until"))
        errors = asked.get("includeEnteredInError") or asked.get("state") == "ENTERED_IN_ERROR"
        return lambda row: (
            (patient is None or row.patient_id == patient)
            and (practitioner is None or row.practitioner_id == practitioner)
            and _state(asked, row)
            and (errors or row.state != "entered-in-error")
            and (since is None or row.started_at >= since)
            and (until is None or row.started_at < until)
        )

    return placed(sight, args, TYPES["Encounter"], ("-started_at", "-id"), fits)


def observations(sight: Sight, args: Arguments) -> Picked:
    """One code of a patient over time, also of components."""
    wanted = Wanted(sight, args)
    patient = wanted.id(args, "patient", "Patient")
    since, until = (_instant(args.get(name)) for name in ("since", "until"))

    def fits(row: Any) -> bool:
        return bool(
            row.patient_id == patient
            and row.code == args["code"]
            and row.replaced_by_id is None
            and (since is None or row.effective_at >= since)
            and (until is None or row.effective_at < until)
            and (args.get("includeEnteredInError", False) or row.state != "entered-in-error")
        )

    closed = not sight.reaches("observation:read", None)
    rows = sight.visible("observation")
    order = ("-effective_at", "-id")
    return page(wanted, TYPES["Observation"], order, rows, fits, closed=closed)


def _instant(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)


def _state(asked: Arguments, row: Any) -> bool:
    state = asked.get("state")
    said = row.state.replace("-", "_").upper()
    return state is None or bool(said == state)


def appointments(sight: Sight, args: Arguments) -> Picked:
    def fits(wanted: Wanted) -> Callable[[Any], bool]:
        patient = wanted.id(args, "patient", "Patient")
        practitioner = wanted.id(args, "practitioner", "Practitioner")
        calendar = args.get("calendar")
        start, end = _period(wanted, calendar) if calendar and wanted.possible else (None, None)
        return lambda row: (
            (patient is None or row.patient_id == patient)
            and (practitioner is None or row.practitioner_id == practitioner)
            and (start is None or end is None or start <= row.starts_at < end)
        )

    return placed(sight, args, TYPES["Appointment"], ("starts_at", "id"), fits)


def waitlist(sight: Sight, args: Arguments) -> Picked:
    type_ = TYPES["WaitlistEntry"]
    wanted = Wanted(sight, args)
    at = wanted.node()
    rows = [
        row
        for row in sight.rows.all("waitlist_entry")
        if sight.may("appointment:read", row) and (at is None or at in sight.line(row.unit_id))
    ]
    closed = not sight.reaches("appointment:read", at)
    fits = lambda row: _state(args, row)  # noqa: E731 - one line
    return page(wanted, type_, ("created_at", "id"), rows, fits, closed=closed)


def _period(wanted: Wanted, calendar: Arguments) -> tuple[dt.datetime, dt.datetime]:
    """From midnight to midnight of the clinic's own time, whatever the clocks do between."""
    at = wanted.node()
    unit = wanted.sight.rows.get("org_unit", at)
    clinic = wanted.sight.rows.get("org_unit", unit.clinic_id) if unit else None
    name = calendar.get("zone") or (clinic.zone if clinic else "UTC")
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Refused from None
    begin = dt.date.fromisoformat(calendar["date"])
    days = 1
    if calendar.get("span", "DAY") == "WEEK":
        begin, days = begin - dt.timedelta(days=begin.weekday()), 7
    end = begin + dt.timedelta(days=days)
    midnight = dt.time()
    return dt.datetime.combine(begin, midnight, zone), dt.datetime.combine(end, midnight, zone)


def invoices(sight: Sight, args: Arguments) -> Picked:
    def fits(wanted: Wanted) -> Callable[[Any], bool]:
        patient = wanted.id(args, "patient", "Patient")
        return lambda row: (
            row.issued_at is not None
            and (patient is None or row.patient_id == patient)
            and _state(args, row)
        )

    return placed(sight, args, TYPES["Invoice"], ("-issued_at", "-id"), fits)


def charge_master(sight: Sight, args: Arguments) -> Picked:
    search = args.get("search")
    words = None if search is None else fold(search)
    if words == "":
        raise Refused
    on = dt.date.fromisoformat(args["on"]) if args.get("on") else sight.rows.now.date()

    def fits(entry: Any) -> bool:
        until = entry.effective_until
        in_force = entry.effective_from <= on and (until is None or on < until)
        if words is None or search is None:
            return in_force
        code = entry.code.startswith(search.strip().upper())
        return bool(in_force and (code or entry.description_key.startswith(words)))

    rows = sight.visible("charge_master")
    closed = not sight.anywhere("charge_master:read")
    wanted = Wanted(sight, args)
    return page(wanted, TYPES["ChargeMasterEntry"], ("code", "id"), rows, fits, closed=closed)


# -- the house ----------------------------------------------------------------------------------


def _below(sight: Sight, at: uuid.UUID) -> set[uuid.UUID]:
    return {unit.id for unit in sight.rows.all("org_unit") if at in sight.line(unit.id)}


def _lasts(sight: Sight, row: Any) -> bool:
    """Whether a period has not ended."""
    return row.valid_until is None or bool(row.valid_until > sight.rows.now)


def practitioners(sight: Sight, args: Arguments) -> Picked:
    wanted = Wanted(sight, args)
    at = wanted.node()
    below = _below(sight, at) if at and wanted.possible else None

    def fits(row: Any) -> bool:
        places = sight.rows.where("resource_assignment", "resource_id", row.id)
        return below is None or any(
            place.unit_id in below and _lasts(sight, place) for place in places
        )

    rows = sight.visible("practitioner")
    closed = not sight.anywhere("practitioner:read")
    return page(wanted, TYPES["Practitioner"], ("family_name", "id"), rows, fits, closed=closed)


def people(sight: Sight, args: Arguments) -> Picked:
    wanted = Wanted(sight, args)
    at = wanted.node()
    below = _below(sight, at) if at and wanted.possible else None
    now = sight.rows.now

    def fits(row: Any) -> bool:
        grants = sight.rows.where("role_grant", "person_id", row.id)
        return below is None or any(
            g.unit_id in below
            and g.valid_from <= now
            and (g.valid_until is None or now < g.valid_until)
            for g in grants
        )

    closed = not sight.anywhere("person:read")
    rows = sight.visible("person")
    return page(wanted, TYPES["Person"], ("family_name", "id"), rows, fits, closed=closed)


def grants(sight: Sight, args: Arguments) -> Picked:
    """Those that one administers or watches, and one's own: nobody is without."""
    wanted = Wanted(sight, args)
    at = wanted.node()
    below = _below(sight, at) if at and wanted.possible else None
    person, role = wanted.id(args, "person", "Person"), args.get("role")
    now, ended = sight.rows.now, args.get("includeEnded", False)

    def fits(row: Any) -> bool:
        return (
            (below is None or row.unit_id in below)
            and (person is None or row.person_id == person)
            and (role is None or row.role == role)
            and (ended or row.valid_until is None or row.valid_until > now)
        )

    order = ("-created_at", "-id")
    return page(wanted, TYPES["Grant"], order, sight.visible("grant"), fits, closed=False)


def grant_requests(sight: Sight, args: Arguments) -> Picked:
    rows = [row for row in sight.rows.all("grant_request") if sight.may("grant:read", row)]
    order, type_ = ("-created_at", "-id"), TYPES["GrantRequest"]
    return page(Wanted(sight, args), type_, order, rows, lambda r: _state(args, r), closed=False)


def bookable_resources(sight: Sight, args: Arguments) -> Picked:
    wanted = Wanted(sight, {"node": args["clinic"]})
    at = wanted.node()
    if at is None or not wanted.possible:
        return NOTHING
    type_ = TYPES["BookableResource"]
    if not sight.anywhere("practitioner:read"):
        return Picked(None, "DEMOGRAPHICS")
    below = _below(sight, at)
    assigned = {
        a.resource_id
        for a in sight.rows.all("resource_assignment")
        if a.unit_id in below and _lasts(sight, a)
    }
    rows = [row for row in sight.rows.all("bookable_resource") if row.id in assigned]
    return Picked([(type_, row) for row in ordered(rows, ("kind", "name", "id"))])


def at_clinic(type_name: str, *order: str) -> Callable[[Sight, Arguments], Picked]:
    """The rows in force of a type at a unit and below it."""

    def root(sight: Sight, args: Arguments) -> Picked:
        wanted = Wanted(sight, {"node": args["clinic"]})
        at = wanted.node()
        if at is None or not wanted.possible:
            return NOTHING
        if not sight.reaches("schedule:read", None):
            return Picked(None, "DEMOGRAPHICS")
        type_, below = TYPES[type_name], _below(sight, at)
        rows = sight.rows.all(type_.table or "")
        seen = [
            row
            for row in rows
            if row.active and row.unit_id in below and sight.may("schedule:read", row)
        ]
        return Picked([(type_, row) for row in ordered(seen, (*order, "id"))])

    return root


OF_KIND = {
    "practitioner": "Practitioner",
    "room": "BookableResource",
    "device": "BookableResource",
}
"""What booking calls them."""


def availability(sight: Sight, args: Arguments) -> Picked:
    wanted = Wanted(sight, {"node": args["clinic"], **args})
    at, service = wanted.node(), wanted.id(args, "service", "HealthcareService")
    if at is None or not wanted.possible:
        return NOTHING
    days, minutes = args.get("days", 7), args.get("minutes")
    lists = {name: args.get(name) for name in ("resources", "together")}
    long = any(ids is not None and len(ids) > 50 for ids in lists.values())
    if not 1 <= days <= 31 or long or (minutes is not None and not 5 <= minutes <= 480):
        raise Refused
    unit = sight.rows.get("org_unit", at)
    if unit.clinic_id is None or not sight.at("schedule:read", at):
        return Picked(None, "SCHEDULING")
    first = dt.date.fromisoformat(args["date"])
    last = first + dt.timedelta(days=days - 1)
    offered = sight.rows.get("healthcare_service", service)
    if service and (offered is None or not offered.active or offered.clinic_id != unit.clinic_id):
        return Picked([])
    hours = Hours(sight, unit, service)
    here = hours.resources(first, last)
    named, also = (_resources(lists[name]) for name in ("resources", "together"))
    together = [r for r in here if also and r.id in also]
    if also and len(together) < len(also):
        return Picked([])
    length = minutes or (offered.minutes if offered else None)
    return Picked(
        [
            Values(
                "Availability",
                {
                    "resource": f"{OF_KIND[r.kind]}:{r.id}",
                    "name": r.name,
                    "kind": r.kind.upper(),
                    "hasRules": hours.rules_of(r) is not None,
                    "slots": [
                        Values("OpenSlot", {"startsAt": plain(b), "endsAt": plain(e)})
                        for b, e in hours.slots(r, first, last, length, together)
                    ],
                },
            )
            for r in here
            if named is None or r.id in named
        ]
    )


def _resources(ids: list[str] | None) -> set[uuid.UUID] | None:
    if ids is None:
        return None
    both = [parse(id_, kind) for id_ in ids for kind in ("BookableResource", "Practitioner")]
    return {found for found in both if found}


LEVELS = ("system", "region", "clinic", "department")


def organization(sight: Sight, args: Arguments) -> Picked:
    if not sight.anywhere("org_unit:read"):
        return Picked(None, "DEMOGRAPHICS")
    rows = ordered(sight.rows.all("org_unit"), ("name", "id"))
    rows.sort(key=lambda unit: LEVELS.index(unit.level))
    return Picked([(TYPES["OrgUnit"], row) for row in rows])


def viewer(sight: Sight, args: Arguments) -> Picked:
    me = sight.rows.get("person", sight.person_id)
    grants = [
        Values(
            "HeldGrant",
            {
                "id": f"Grant:{grant.id}",
                "role": grant.role,
                "unitId": f"OrgUnit:{grant.unit_id}",
                "unitName": sight.rows.get("org_unit", grant.unit_id).name,
                "validFrom": plain(grant.valid_from),
                "validUntil": plain(grant.valid_until),
            },
        )
        for grant in sight.rows.where("role_grant", "person_id", me.id)
        if grant.valid_from <= sight.rows.now
        and (grant.valid_until is None or sight.rows.now < grant.valid_until)
    ]

    def permissions(args: Arguments) -> list[str]:
        at = parse(args["node"], "OrgUnit")
        return sight.permissions(at) if at and sight.rows.get("org_unit", at) else []

    return Picked(
        Values(
            "Viewer",
            {
                "userName": me.user_name,
                "me": one(sight, TYPES["Person"], f"Person:{me.id}"),
                "grants": grants,
                "permissions": permissions,
            },
        )
    )


ROOTS: dict[str, Callable[[Sight, Arguments], Picked]] = {
    "patient": by_id(TYPES["Patient"]),
    "encounter": by_id(TYPES["Encounter"]),
    "appointment": by_id(TYPES["Appointment"]),
    "invoice": by_id(TYPES["Invoice"]),
    "account": account,
    "node": node,
    "nodes": nodes,
    "patients": patients,
    "encounters": encounters,
    "observations": observations,
    "appointments": appointments,
    "invoices": invoices,
    "waitlist": waitlist,
    "chargeMaster": charge_master,
    "practitioners": practitioners,
    "people": people,
    "grants": grants,
    "grantRequests": grant_requests,
    "bookableResources": bookable_resources,
    "healthcareServices": at_clinic("HealthcareService", "name"),
    "scheduleRules": at_clinic("ScheduleRule", "valid_from"),
    "scheduleClosures": at_clinic("ScheduleClosure", "first_on"),
    "availability": availability,
    "organization": organization,
    "viewer": viewer,
}
