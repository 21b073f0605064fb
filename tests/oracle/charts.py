"""What is written at visits: notes of every state and kind, findings with parts, the entries of a chart."""

import datetime as dt
import random
import uuid
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from domain.encounters import Encounter
from domain.model import Base
from domain.people import Person
from domain.practitioners import Practitioner
from tests import make

SEED = uuid.UUID("6f1d2c52-0f0e-4a9b-9b54-0f2f6f0c1f77")
BEGUN = dt.datetime(2025, 9, 1, 8, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
SECTIONS = ("subjective", "objective", "assessment", "plan")
ENTRIES = (make.allergy, make.request, make.statement, make.procedure, make.immunization)


class Charts:
    """The part of a health system that is written at visits, and the ways to make any of its rows."""

    slug: str
    random: random.Random
    numbers: Iterator[int]
    rows: list[Base]
    people: dict[str, Person]
    practitioners: list[Practitioner]
    texts: dict[uuid.UUID, dict[str, str]]

    def key(self, name: str) -> uuid.UUID:
        """An id that is the same in every run; every second one is the twin's too."""
        shared = zlib.crc32(name.encode()) % 2
        return uuid.uuid5(SEED, name if shared else f"{self.slug} {name}")

    def add(self, *rows: Any) -> Any:
        """Keep the rows; the first is handed back."""
        self.rows.extend(rows)
        return rows[0]

    def maybe(self, value: Any) -> Any:
        """The value, or now and then nothing."""
        return None if self.random.random() < 0.25 else value

    def text(self, what: str) -> str:
        """Words that no other row has."""
        return f'{what} "{next(self.numbers)}" of\t{self.slug} ąß漢'

    # -- what is written at a visit --------------------------------------------------------------

    def note(self, visit: Encounter, name: str, earlier: list[Any]) -> Any:
        pick, key = self.random, self.key(f"note {name}")
        authors = ("nurse", "provider", "clinic_admin", "viewer_once_nurse", "float", "gone")
        state = pick.choice(("draft", "draft", "signed", "amended", "entered-in-error"))
        body = {"body": self.text("body") * pick.choice((1, 9))}
        sections = {part: self.text(part) for part in pick.sample(SECTIONS, 2)}
        self.texts[key] = pick.choice((body, body, sections, body | sections))
        more: dict[str, Any] = {}
        if earlier and pick.random() < 0.5:
            more |= {"amends_id": pick.choice(earlier).id}
            more |= {"amendment": pick.choice(("addendum", "amendment"))}
        if state != "draft" and pick.random() < 0.3:
            more |= {"cosigned_by": self.people["system_admin"].id, "cosigned_at": make.NOW}
        if state == "entered-in-error":
            more |= {"error_reason": self.maybe(self.text("error"))}
        made = make.note(
            visit,
            self.people[pick.choice(authors)],
            id=key,
            state=state,
            kind=pick.choice(("nursing", "progress")),
            created_at=BEGUN + dt.timedelta(microseconds=pick.randrange(3) * 1_500),
            **more,
        )
        return self.add(made)

    def finding(self, visit: Encounter, name: str) -> None:
        pick = self.random
        # Now and then it was brought along and belongs to no visit.
        at = {} if zlib.crc32(name.encode()) % 4 else {"encounter_id": None}
        value: dict[str, Any] = pick.choice(
            (
                {"value_quantity": Decimal("98.60"), "unit": "[degF]"},
                {"value_quantity": Decimal("-0.000001"), "unit": "mmol/L"},
                {"value_quantity": None, "value_text": self.text("value")},
                {"value_quantity": None},
                {"value_quantity": None, "value_boolean": True},
                {"value_quantity": None, "value_code": "1", "value_code_system": "http://x"},
                {"value_quantity": Decimal(5), "unit": "1", "range_low": Decimal("1.50")},
            )
        )
        finding = self.add(
            make.observation(
                visit,
                id=self.key(f"observation {name}"),
                code=pick.choice(("8867-4", "8480-6")),
                state=pick.choice(("final", "preliminary", "entered-in-error")),
                display=self.maybe(self.text("display")),
                effective_at=BEGUN + pick.randrange(3) * DAY,
                recorded_by=self.maybe(self.people["nurse"].id),
                interpretation=self.maybe("HH"),
                **{"unit": None} | value | at,
            )
        )
        for part in pick.sample(("component", "member"), pick.randrange(3)):
            self.add(
                make.observation(
                    visit,
                    id=self.key(f"{part} {name}"),
                    code="8480-6",
                    state=pick.choice(("final", "entered-in-error")),
                    part=part,
                    part_of_id=finding.id,
                    effective_at=BEGUN + pick.randrange(3) * DAY,
                    **at,
                )
            )
        self._put_right(visit, finding, name, at)
        for entry in ENTRIES:
            self._entry(visit, entry, name)
        self.add(
            make.condition(
                visit,
                id=self.key(f"condition {name}"),
                display=self.maybe(self.text("diagnosis")),
                clinical_status=pick.choice(("active", "active", "resolved")),
                category=pick.choice(("problem-list-item", "encounter-diagnosis")),
                verification_status=pick.choice(("confirmed", "entered-in-error", "unconfirmed")),
                onset_on=self.maybe(dt.date(2024, 2, 29)),
                **at,
            )
        )

    def _put_right(self, visit: Encounter, finding: Any, name: str, at: dict[str, Any]) -> None:
        """The later version of a finding, now and then."""
        if zlib.crc32(name.encode()) % 5:
            return
        later: dict[str, Any] = {"id": self.key(f"later {name}"), "state": "corrected"}
        made = make.observation(visit, code=finding.code, **later | at)
        self.rows.insert(self.rows.index(finding), made)
        finding.replaced_by_id = made.id

    def _entry(self, visit: Encounter, entry: Callable[..., Any], name: str) -> None:
        """An allergy, a medication … of a visit, or of none."""
        pick = self.random
        state = "verification_status" if entry is make.allergy else "state"
        made = entry(visit, id=self.key(f"{entry.__name__} {name}"))
        made.encounter_id = self.maybe(visit.id)
        made.display = self.maybe(self.text("called"))
        made.effective_at = BEGUN + pick.randrange(3) * DAY
        made.recorded_by = self.maybe(self.people["provider"].id)
        if pick.random() < 0.3:
            setattr(made, state, "entered-in-error")
            made.error_reason = self.maybe(self.text("error"))
        if entry is make.statement:
            made.request_id = self.maybe(self.key(f"request {name}"))
        elif entry is not make.allergy:
            made.practitioner_id = self.maybe(pick.choice(self.practitioners).id)
        self.add(made)
