"""Two health systems full of rows, and the same rows as plain Python for the oracle.

The second is a twin: half of its ids are those of the first (ids are unique within a health system only), its values
differ. A statement that forgets the health system anywhere answers wrongly at once.
"""

import datetime as dt
import random
import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, select

from domain.encounters import Encounter
from domain.model import Base
from domain.organization import OrgUnit
from domain.patients import Patient, PatientSite
from domain.people import Person, RoleGrant
from domain.practitioners import Practitioner
from tests import make, who
from tests.oracle import following, opening, providers, reminding, scim, staff
from tests.oracle.bills import Bills
from tests.oracle.charts import BEGUN, DAY, ENTRIES, SEED, Charts

ZONES = ("America/Chicago", "Asia/Tokyo", "Europe/Berlin", "UTC", "Pacific/Apia")
FAMILIES = ("Abel", "Abelard", "Baker", "Baker", "Čermák", "García", "Łukasz", "Zhou", "Zimmer")
GIVEN = ("Ana", "Anatol", "Ben", "Chloé", "Dmitri", "Eve")
CALENDAR = dt.datetime(
    2025, 10, 30, 0, 0, tzinfo=dt.UTC
)  # clocks change in Berlin and Chicago around
FAR = dt.datetime(2099, 1, 5, 9, 0, tzinfo=dt.UTC)
SOME_PRICES = 1_003  # more than a total counts
PATIENTS = 36

Seal = Callable[[str, uuid.UUID, bytes], bytes]
"""(column, row id, plain) to sealed, with the keys of the health system."""


class System(Charts):
    """One health system as rows of the domain, before anything is saved."""

    def __init__(self, slug: str, currency: str, digits: int) -> None:
        self.slug = slug
        self.random = random.Random(slug)
        self.numbers = iter(range(1, 10_000))
        self.tenant = make.tenant(
            tenant_id=uuid.uuid5(SEED, slug), slug=slug, currency=currency, currency_digits=digits
        )
        self.rows: list[Base] = [self.tenant]
        self.units: dict[str, OrgUnit] = {}
        self.people: dict[str, Person] = {}
        self.practitioners: list[Practitioner] = []
        self.texts: dict[uuid.UUID, dict[str, str]] = {}
        self._tree()
        self._staff()
        self._resources()
        self._prices()
        opening.hours(self)
        for i in range(PATIENTS):
            self._patient(i)
        opening.taken(self)
        self._somebody_hidden()
        reminding.said(self)
        Bills(self).make()

    # -- the house ------------------------------------------------------------------------------

    def _unit(self, name: str, above: str | None, level: str, **values: Any) -> None:
        parent = self.units[above] if above else None
        label = f"{self.slug} {level} {name}"
        made = make.unit(
            self.tenant, parent, level, id=self.key(f"unit {name}"), name=label, **values
        )
        self.units[name] = self.add(made)

    def _tree(self) -> None:
        self._unit("system", None, "system")
        above = {c: region for region, clinics in who.REGIONS.items() for c in clinics}
        for region in who.REGIONS:
            self._unit(region, "system", "region")
        for i, clinic in enumerate(who.CLINICS):
            zone = ZONES[i % len(ZONES)]
            self._unit(clinic, above.get(clinic, "system"), "clinic", zone=zone)
            for letter in who.DEPARTMENTS:
                self._unit(clinic + letter, clinic, "department", active=letter != "c")

    def _staff(self) -> None:
        now = dt.datetime.now(dt.UTC)
        for i, one in enumerate(who.CAST):
            name = f"{self.slug} {'KLM'[i % 3]}{i // 2}"
            shown = BEGUN if i % 4 == 0 else None
            person = self._person(one.name, family_name=name, second_factor_at=shown)
            for j, held in enumerate(one.held):
                self.add(self.grant(person, held, now, f"{one.name} {j}"))
            if one.treats:
                self._practitioner(one.name, person)
        staff.requests(self, now)
        providers.rows(self, now)
        scim.rows(self, now)
        following.rows(self)
        staff.sessions(self, now)
        self._person("gone", active=False, subject=None)
        self._practitioner("guest", None, active=False)

    def grant(
        self, person: Person, held: who.Held, now: dt.datetime, name: str, **values: Any
    ) -> RoleGrant:
        return make.grant(
            person,
            held.role,
            self.units[held.place],
            id=self.key(f"grant {name}"),
            valid_from=now + held.since,
            valid_until=None if held.until is None else now + held.until,
            source=("local", "scim")[len(name) % 2],
            created_at=BEGUN + len(name) % 5 * DAY,
            **values,
        )

    def _person(self, name: str, **values: Any) -> Person:
        defaults = {
            "id": self.key(f"person {name}"),
            "user_name": f"{name}.{self.slug}",
            "given_name": name.title(),
            "family_name": self.slug,
            "email": self.maybe(f"{name}@{self.slug}.example"),
        }
        person: Person = self.add(make.person(self.tenant, **defaults | values))
        self.people[name] = person
        return person

    def _practitioner(self, name: str, person: Person | None, **values: Any) -> None:
        made = make.practitioner(
            self.tenant,
            person,
            id=self.key(f"practitioner {name}"),
            given_name=name.title(),
            family_name=f"{self.slug} {self.random.choice('XYZ')}",
            specialty=self.maybe(self.text("specialty")),
            npi=self.maybe(f"{self.random.randrange(10**9, 10**10)}"),
            **values,
        )
        self.practitioners.append(self.add(made))

    def _resources(self) -> None:
        rooms = [
            make.bookable(
                self.tenant,
                kind,
                id=self.key(f"{kind} {i}"),
                name=f"{self.slug} {kind} {'PQ'[i % 2]}",
                active=i != 3,
            )
            for i in range(4)
            for kind in ("room", "device")
        ]
        for resource in (*rooms, *map(make.bookable, self.practitioners)):
            self.add(resource)
            for place in self.random.sample(who.PLACES, 3):
                over = self.random.choice((FAR, BEGUN, None, None))
                self.add(make.assignment(resource, self.units[place], valid_until=over))

    def _prices(self) -> None:
        for i in range(SOME_PRICES):
            code = f"{'ABC'[i % 3]}{i:04}"
            words = f"{self.random.choice(FAMILIES)} {i} {self.slug}"
            since = dt.date(2020, 1, 1 + i % 28)
            until = dt.date(2024, 1, 1) if i % 100 == 7 else self.maybe(dt.date(2090, 1, 1))
            self.add(
                make.price(
                    self.tenant,
                    id=self.key(f"price {i}"),
                    code=code,
                    code_system=("CPT", "HCPCS", "INTERNAL")[i % 3],
                    description=words,
                    description_key=words.lower(),
                    price_minor=self.random.randrange(10**6),
                    effective_from=since,
                    effective_until=until,
                )
            )

    # -- patients -------------------------------------------------------------------------------

    def _patient(self, i: int) -> None:
        pick = self.random
        places = pick.sample(who.PLACES, pick.choice((1, 1, 2, 3)))
        if i % 4 == 0:
            places.append(pick.choice([p for p in ("n1", "n1a", "n1b") if p not in places]))
        nodes = [self.units[place] for place in places]
        rows = make.patient_at(self.tenant, *nodes, **self._demographics(i))
        patient = self.add(*rows)
        sites = [row for row in rows if isinstance(row, PatientSite)]
        units = {unit.id: unit for unit in self.units.values()}
        at = [units[site.unit_id] for site in sites]
        for visit in range(pick.randrange(4)):
            self._visit(patient, pick.choice(at), f"{i} {visit}")
        for planned in range(pick.randrange(4)):
            self._appointment(patient, pick.choice(at), f"{i} {planned}")
        for bill in range(pick.randrange(3)):
            self._bill(patient, pick.choice(at), pick.choice(at), f"{i} {bill}")

    def _demographics(self, i: int) -> dict[str, Any]:
        pick, family, given = (
            self.random,
            self.random.choice(FAMILIES),
            self.random.choice(GIVEN),
        )
        born = dt.date(1960, 1, 1) + pick.randrange(4) * 5 * DAY
        maybe: dict[str, Any] = {
            "preferred_name": self.text("called"),
            "gender_identity": "non-binary",
            "phone": "+13125550100",
            "email": f"{i}@{self.slug}.example",
            "language": "cs-CZ",
            "address_line": self.text("street"),
            "city": self.slug,
            "postal_code": f"{i:05}",
            "country": "US",
            "zone": "Asia/Tokyo",
            "deceased_on": dt.date(2025, 1, 2),
            "birth_date": born,
        }
        return {
            "id": self.key(f"patient {i}"),
            "mrn": f"MRN-{i % 30}",  # some numbers are given twice, by different assigners
            "mrn_assigner": "" if i < 30 else "elsewhere",
            "family_name": family,
            "given_name": given,
            "reminder_opt_outs": ([], ["email"], ["email", "webhook"])[i % 3],
            "sex": pick.choice(("male", "female", "other", "unknown")),
            "sensitivity": (0, 0, 0, 0, 0, 0, 1, 2)[i % 8],
            "active": i % 9 != 5,
            **{name: self.maybe(value) for name, value in maybe.items()},
        }

    def _visit(self, patient: Patient, at: OrgUnit, name: str) -> None:
        pick = self.random
        begun = BEGUN + pick.randrange(6) * DAY
        state = pick.choice(("in-progress", "finished", "arrived", "entered-in-error"))
        over = begun + dt.timedelta(minutes=47, microseconds=120) if state == "finished" else None
        visit = make.encounter(
            patient,
            at,
            id=self.key(f"encounter {name}"),
            practitioner_id=self.maybe(pick.choice(self.practitioners).id),
            state=state,
            kind=pick.choice(("AMB", "VR")),
            reason=self.maybe(self.text("reason")),
            started_at=begun,
            ended_at=over,
            version=pick.randrange(1, 5),
        )
        self.add(visit)
        notes: list[Any] = []
        for i in range(pick.randrange(4)):
            notes.append(self.note(visit, f"{name} {i}", notes))
        for i in range(pick.randrange(3)):
            self.finding(visit, f"{name} {i}")
        if pick.random() < 0.5:
            self._charge(patient, at, name, visit)

    def _somebody_hidden(self) -> None:
        """A patient of raised sensitivity with rows of each kind, also drafts that their authors see no more."""
        units = [self.units[place] for place in ("n1", "s1", "lone")]
        told = {"id": self.key("patient hidden"), "mrn": "MRN-HIDDEN", "sensitivity": 1}
        rows = make.patient_at(self.tenant, *units, **told)
        patient = self.add(*rows)
        for i in range(24):
            unit = units[i % 3]
            visit = self.add(make.encounter(patient, unit, id=self.key(f"encounter hidden {i}")))
            doctor = self.practitioners[0]
            bill = make.invoice(
                patient, unit, id=self.key(f"invoice hidden {i}"), number=next(self.numbers)
            )
            self.add(
                make.observation(visit, id=self.key(f"observation hidden {i}")),
                make.condition(visit, id=self.key(f"condition hidden {i}")),
                *(entry(visit, id=self.key(f"{entry.__name__} hidden {i}")) for entry in ENTRIES),
                make.appointment(patient, unit, doctor, id=self.key(f"appointment hidden {i}")),
                make.series(patient, unit, doctor, id=self.key(f"series hidden {i}")),
                make.waiting(patient, unit, id=self.key(f"waiting hidden {i}")),
                make.charge(patient, unit, id=self.key(f"charge hidden {i}")),
                make.posting(patient, unit, id=self.key(f"posting hidden {i}")),
                bill,
                make.invoice_line(bill, id=self.key(f"line hidden {i}")),
            )
            for author in ("nurse", "provider", "clinic_admin", "director", "system_admin"):
                key = self.key(f"note hidden {author} {i}")
                self.texts[key] = {"body": self.text("body")}
                writer, state = self.people[author], ("draft", "signed")[i % 2]
                note = make.note(visit, writer, id=key, state=state, created_at=BEGUN)
                self.add(note)

    def _appointment(self, patient: Patient, at: OrgUnit, name: str) -> None:
        pick = self.random
        starts = pick.choice((CALENDAR, CALENDAR, FAR)) + pick.randrange(40) * dt.timedelta(hours=3)
        visit = self.add(
            make.appointment(
                patient,
                at,
                pick.choice(self.practitioners),
                id=self.key(f"appointment {name}"),
                state=pick.choice(("booked", "checked-in", "cancelled", "noshow")),
                starts_at=starts,
                reason=self.maybe(self.text("why")),
                comment=self.maybe(self.text("comment")),
            )
        )
        self._around(visit, patient, at, name)

    def _around(self, visit: Any, patient: Patient, at: OrgUnit, name: str) -> None:
        """What an appointment can belong to or come from: a series, another time, the waiting list."""
        chance = zlib.crc32(name.encode())
        doctor = self.practitioners[chance % len(self.practitioners)]
        if chance % 3 == 0:
            series = make.series(patient, at, doctor, id=self.key(f"series {name}"))
            visit.series_id = self.add(series).id
        if chance % 4 == 0:
            moved = make.appointment(patient, at, doctor, id=self.key(f"appointment moved {name}"))
            moved.rescheduled_from_id, moved.series_id = visit.id, visit.series_id
            self.add(moved)
        self.add(
            make.waiting(
                patient,
                at,
                id=self.key(f"waiting {name}"),
                practitioner_id=doctor.id if chance % 2 else None,
                state="waiting" if chance % 3 else "offered",
                offered_id=None if chance % 3 else visit.id,
                priority=chance % 10,
                reason=self.text("waits") if chance % 5 else None,
                created_at=BEGUN + chance % 3 * DAY,
            )
        )

    # -- money ----------------------------------------------------------------------------------

    def _charge(self, patient: Patient, at: OrgUnit, name: str, visit: Encounter) -> None:
        pick = self.random
        price, units = pick.randrange(1, 10**5) * 2, pick.choice((Decimal(1), Decimal("2.500")))
        self.add(
            make.charge(
                patient,
                at,
                id=self.key(f"charge {name}"),
                encounter_id=visit.id,
                state=pick.choice(("billable", "billable", "billed", "entered-in-error")),
                description=self.text("charge"),
                units=units,
                unit_price_minor=price,
                amount_minor=int(units * price),
            )
        )

    def _bill(self, patient: Patient, at: OrgUnit, to: OrgUnit, name: str) -> None:
        pick = self.random
        state = pick.choice(("issued", "issued", "balanced", "cancelled", "draft"))
        issued = None if state == "draft" else BEGUN + pick.randrange(5) * DAY
        amounts = [pick.randrange(10**7) for _ in range(pick.randrange(4))]
        bill = make.invoice(
            patient,
            at,
            id=self.key(f"invoice {name}"),
            state=state,
            number=None if issued is None else next(self.numbers),
            issued_at=issued,
            total_minor=sum(amounts),
        )
        if state == "cancelled":
            bill.cancelled_at = (issued or BEGUN) + pick.randrange(60) * DAY
            bill.cancel_reason = self.text("reason")
        self.add(bill)
        for i, amount in enumerate(amounts):
            line = make.invoice_line(
                bill,
                id=self.key(f"line {name} {i}"),
                description=self.text("line"),
                unit_price_minor=amount,
                amount_minor=amount,
            )
            self.add(line)
        for i in range(pick.randrange(4)):
            self._posting(patient, at, f"{name} {i}")
        if pick.random() < 0.4:
            moved = make.transfer(patient, at, to, amount_minor=pick.randrange(1, 10**5))
            for posting, side in zip(moved, ("from", "to"), strict=True):
                posting.id = self.key(f"transfer {name} {side}")
            moved[0].counterpart_id, moved[1].counterpart_id = moved[1].id, moved[0].id
            self.add(*moved)

    def _posting(self, patient: Patient, at: OrgUnit, name: str) -> None:
        pick = self.random
        kind = pick.choice(("payment", "payment", "adjustment"))
        codes = {"group_code": "CO", "reason_code": "45"} if kind == "adjustment" else {}
        paid = make.posting(
            patient,
            at,
            id=self.key(f"posting {name}"),
            kind=kind,
            amount_minor=pick.randrange(1, 10**6),
            **codes,
        )
        self.add(paid)
        if pick.random() < 0.3:
            undone = make.posting(
                patient,
                at,
                id=self.key(f"reversal {name}"),
                kind="reversal",
                method=None,
                amount_minor=-paid.amount_minor,
                reverses_id=paid.id,
            )
            self.add(undone)

    def sealed(self, seal: Seal) -> list[Base]:
        """All rows, the texts of notes sealed."""
        for row in self.rows:
            if row.__tablename__ == "note":
                note: Any = row
                note.body_sealed = None
                for part, text in self.texts[note.id].items():
                    column = f"{part}_sealed"
                    setattr(note, column, seal(f"note.{column}", note.id, text.encode()))
        return self.rows


class Rows:
    """What one health system holds, as plain values read from the tables. The oracle sees nothing else."""

    def __init__(self, tenant_id: uuid.UUID, tables: dict[str, list[Any]]) -> None:
        self.tenant_id = tenant_id
        self.tables = tables
        self.texts: dict[uuid.UUID, dict[str, str]] = {}
        self.now = dt.datetime.now(dt.UTC)
        self._found: dict[tuple[str, str], dict[Any, list[Any]]] = {}

    def all(self, table: str) -> list[Any]:
        """Every row of the table."""
        return self.tables[table]

    def where(self, table: str, column: str, value: Any) -> Sequence[Any]:
        """The rows whose column equals the value."""
        found = self._found.get((table, column))
        if found is None:
            found = self._found[table, column] = defaultdict(list)
            for row in self.tables[table]:
                found[getattr(row, column)].append(row)
        return found.get(value, ())

    def get(self, table: str, id_: Any) -> Any:
        """The row of this id, or None."""
        return next(iter(self.where(table, "id", id_)), None)


def models() -> Iterable[type[Base]]:
    """Every table of a cell that holds rows of the world."""
    return [mapper.class_ for mapper in Base.registry.mappers]


def read_back(connection: Connection, systems: Iterable[System]) -> list[Rows]:
    """The plain rows of each system, with the defaults that the database gave them."""
    out = []
    for system in systems:
        tenant_id = system.tenant.tenant_id
        tables: dict[str, list[Any]] = {}
        for model in models():
            table: Any = model.__table__
            found = connection.execute(select(table).where(table.c.tenant_id == tenant_id))
            tables[table.name] = [SimpleNamespace(**row) for row in found.mappings()]
        rows = Rows(tenant_id, tables)
        rows.texts = dict(system.texts)
        out.append(rows)
    return out


def build() -> tuple[System, System]:
    """The health system and its twin."""
    return System("mercy", "USD", 2), System("lakeside", "KWD", 3)
