"""What lies about money in a health system of the oracle: payers, coverages, claims, what is applied to lines."""

import datetime as dt
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from domain.billing import (
    ChargeItem,
    ChargeMaster,
    Claim,
    ClaimQueue,
    InvoiceLine,
    Payer,
    Posting,
)
from domain.conditions import Condition
from domain.encounters import Encounter
from domain.patients import Patient
from tests import make

if TYPE_CHECKING:
    from tests.oracle.world import System

BEGUN = dt.datetime(2025, 9, 4, 8, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NAMES = ("Aetherial Mutual", "Aether Health", "Basin Care", "Basin Care", "Župa Insurance")


class Bills:
    """Adds the rows to a health system whose patients, visits, charges and invoices are there already."""

    def __init__(self, system: "System") -> None:
        self.system = system
        self.pick = random.Random(f"{system.slug} bills")
        self.units = {unit.id: unit for unit in system.units.values()}
        self.patients = {row.id: row for row in self.of(Patient)}
        self.payers = [self._payer(i, name) for i, name in enumerate(NAMES)]
        self.taken: dict[Any, int] = defaultdict(int)

    def of(self, model: type[Any]) -> list[Any]:
        return [row for row in self.system.rows if type(row) is model]

    def key(self, name: str) -> Any:
        return self.system.key(f"bills {name}")

    def make(self) -> None:
        """Everything."""
        self._pointers()
        for visit in self.of(Encounter):
            charges = [c for c in self.of(ChargeItem) if c.encounter_id == visit.id]
            if charges or self.pick.random() < 0.2:
                self._claim(visit, charges)
        self._applied()
        for name, unit in self.system.units.items():
            if unit.clinic_id is not None:
                self._closes(name, unit)
        for entry in self.of(ChargeMaster)[::50]:
            entry.unit_id = self.pick.choice(list(self.units))

    def _payer(self, i: int, name: str) -> Payer:
        known = {"identifier_system": "urn:payers", "identifier": f"{60000 + i}"}
        made: Payer = self.system.add(
            make.payer(
                self.system.tenant,
                id=self.key(f"payer {i}"),
                name=f"{name} {self.system.slug}",
                name_key=f"{name} {self.system.slug}".lower(),
                active=i != 3,
                version=i + 1,
                **(known if i % 2 else {}),
            )
        )
        return made

    def _pointers(self) -> None:
        findings = defaultdict(list)
        for row in self.of(Condition):
            findings[row.encounter_id].append(row.id)
        for charge in self.of(ChargeItem):
            there = findings.get(charge.encounter_id, [])
            charge.diagnosis_ids = self.pick.sample(there, self.pick.randint(0, min(4, len(there))))
            charge.modifiers = self.pick.choice(([], ["25"], ["LT", "59"]))

    def _coverage(self, visit: Encounter, name: str) -> Any:
        account = (visit.clinic_id, visit.patient_id)
        self.taken[account] += 1
        own = self.taken[account] <= 9
        return self.system.add(
            make.coverage(
                self.patients[visit.patient_id],
                self.units[visit.unit_id],
                self.pick.choice(self.payers),
                id=self.key(f"coverage {name}"),
                priority=self.taken[account] if own else 1,
                starts_on=BEGUN.date() if own else None,
                ends_on=self.pick.choice((None, BEGUN.date() + 90 * DAY)) if own else None,
                state=self.pick.choice(("active", "cancelled", "entered-in-error")),
                member_id=self.system.text("member"),
                group_number=self.pick.choice((None, "G1")),
                relationship=self.pick.choice(("self", "child")),
            )
        )

    def _claim(self, visit: Encounter, charges: list[Any]) -> None:
        name = f"{visit.id}"
        cover = self._coverage(visit, name)
        queue = self.pick.choice(list(ClaimQueue))
        asked: Claim = make.claim(
            visit,
            self.pick.choice((cover, cover, None)),
            id=self.key(f"claim {name}"),
            queue=queue.value,
            step=1 if queue is ClaimQueue.QUEUED else 0,
            total_minor=sum(charge.amount_minor for charge in charges),
            recorded_at=BEGUN + self.pick.randrange(5) * DAY,
            payer_reference=self.pick.choice((None, self.system.text("number"))),
            filed_at=self.pick.choice((None, BEGUN)),
        )
        self.system.add(asked)
        if queue is ClaimQueue.QUEUED:
            first = {"step": 0, "queue": "needs-coding", "id": self.key(f"first {name}")}
            self.system.add(make.claim_step(asked, **first))
        before = "needs-coding" if queue is ClaimQueue.QUEUED else None
        last = {"id": self.key(f"step {name}"), "from_queue": before, "reason": "because"}
        self.system.add(make.claim_step(asked, **last))
        for i in range(self.pick.randrange(3)):
            came = {"sequence": i + 1, "amount_minor": self.pick.choice((-500, 10**4))}
            key = {"id": self.key(f"receipt {name} {i}"), "remittance_id": self.key(f"sent {name}")}
            self.system.add(make.claim_receipt(asked, **came, **key))
        for i, charge in enumerate(charges, 1):
            paid = self.pick.randrange(charge.amount_minor + 1)
            answer: dict[str, Any] = {
                "paid_minor": paid,
                "adjusted_minor": 0,
                "patient_minor": charge.amount_minor - paid,
            }
            values = answer if self.pick.random() < 0.5 else {}
            key = {"id": self.key(f"item {name} {i}"), "sequence": i}
            self.system.add(make.claim_item(asked, charge, **key, **values))

    def _applied(self) -> None:
        lines = defaultdict(list)
        for line in self.of(InvoiceLine):
            lines[line.clinic_id, line.patient_id].append(line)
        for posting in self.of(Posting):
            there = lines[posting.clinic_id, posting.patient_id]
            if there and posting.amount_minor > 0 and self.pick.random() < 0.6:
                line = self.pick.choice(there)
                amount = min(posting.amount_minor, line.amount_minor)
                if amount:
                    key = {"id": self.key(f"part {posting.id}"), "amount_minor": amount}
                    when = {"allocated_at": BEGUN + self.pick.randrange(90) * DAY}
                    self.system.add(make.allocation(posting, line, **key, **when))

    def _closes(self, name: str, unit: Any) -> None:
        for i in range(3):
            made = make.daily_close(
                unit,
                unit_id=unit.id,
                id=self.key(f"close {name} {i}"),
                day=BEGUN.date() + i * DAY,
                charged_minor=self.pick.randrange(10**6),
                paid_minor=self.pick.randrange(10**6),
            )
            self.system.add(made)
