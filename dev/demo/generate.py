"""Streams a world of any size, batch by batch, the same for the same arguments.

A batch depends on its number only, never on those before it: one that is in the database already is simply not made
again, and memory does not grow with the size.
"""

import datetime as dt
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from dev.demo import accounts, charts, patients, visits
from dev.demo.calendar import Calendar
from dev.demo.ids import Ids, fixed
from dev.demo.rows import Batch
from dev.demo.world import World, of_size
from domain.keys import Sealer

SEED = "caretree"
ROOM_FOR_A_BATCH = 1_000_000
# How visits are spread over eight patients in a row: some never come, some often.
SPREAD = (0, 1, 1, 2, 3, 1, 0, 2)


@dataclass(frozen=True)
class Volume:
    """How much: patients, their encounters of the past years, appointments around today.

    `records` adds notes (where a sealer is given), measurements, diagnoses and bills.
    """

    patients: int
    encounters: int
    appointments: int
    records: bool = True
    batch: int = 250

    @property
    def batches(self) -> int:
        """How many batches it takes."""
        return -(-self.patients // self.batch)


@dataclass(frozen=True)
class Numbers:
    """The last numbers of the tenant's series before a batch."""

    mrn: int = 0
    invoice: int = 0


def share(total: int, position: int, of: int) -> int:
    """How many of `total` fall to the patient at this position of so many; all shares add up to `total`."""

    def weight(n: int) -> int:
        turns, rest = divmod(n, len(SPREAD))
        return turns * sum(SPREAD) + sum(SPREAD[:rest])

    all_ = weight(of) or 1
    return weight(position + 1) * total // all_ - weight(position) * total // all_


@dataclass(frozen=True)
class Generator:
    """Makes the batches of a world. `today` is what the times are relative to."""

    world: World
    volume: Volume
    today: dt.date
    sealer: Sealer | None = None
    seed: str = SEED

    def marker(self, index: int) -> uuid.UUID:
        """The id of the audit event that a batch leaves: where it is, the batch is."""
        return fixed(f"{self.seed} {self.world.name} batch {index}")

    def batch(self, index: int, numbers: Numbers) -> tuple[Batch, Numbers]:
        """A batch and the last numbers after it."""
        name = f"{self.seed} {self.world.name} {index}"
        batch = Batch()
        desk = visits.Desk(
            batch,
            self.world.tenant_id,
            self.today,
            Ids(name, index * ROOM_FOR_A_BATCH),
            random.Random(f"{name} chance"),
            Calendar(f"{self.seed} {self.world.name}", self.today, index, self.volume.batches),
            self.sealer,
            self.volume.records,
        )
        ledger = accounts.Ledger(desk, self.world.name, numbers.invoice)
        first = index * self.volume.batch
        positions = range(first, min(first + self.volume.batch, self.volume.patients))
        people = []
        for offset, position in enumerate(positions, 1):
            people.append(self._patient(desk, ledger, position, numbers.mrn + offset))
        batch.add("audit_event", self._event(index, people))
        return batch, Numbers(numbers.mrn + len(people), ledger.number)

    def _patient(
        self, desk: visits.Desk, ledger: accounts.Ledger, position: int, number: int
    ) -> uuid.UUID:
        volume = self.volume
        made = patients.patient(
            desk.batch,
            desk.tenant_id,
            number,
            self.today,
            desk.ids,
            desk.chance,
            patients.homes(desk.chance, self.world.clinics),
            self.sealer,
        )
        finished = [
            visits.earlier(desk, made)
            for _ in range(share(volume.encounters, position, volume.patients))
        ]
        # Appointments fall to others than those with most visits: the spread is turned by three.
        turned = (position + 3) % volume.patients
        for _ in range(share(volume.appointments, turned, volume.patients)):
            finished.extend(visits.book(desk, made))
        if volume.records:
            charts.insure(desk, self.world.name, made)
            for visit in finished:
                if visit.documented:
                    charts.document(desk, visit)
            ledger.bill(finished)
        return made.id

    def _event(self, index: int, people: list[uuid.UUID]) -> dict[str, object]:
        midnight = dt.datetime.combine(self.today, dt.time(), dt.UTC)
        return {
            "tenant_id": self.world.tenant_id,
            "id": self.marker(index),
            "recorded_at": midnight,
            "action": "import:demo",
            "outcome": "done",
            "subject_ids": people,
            "purpose": "HSYSADMIN",
        }


def generate(
    *,
    patients: int,
    clinics: int,
    encounters: int,
    tenant_id: uuid.UUID,
    today: dt.date,
    appointments: int = 0,
    seed: str = SEED,
    batch: int = 5_000,
) -> Iterator[Batch]:
    """Patients with sites and encounters (and appointments) at so many clinics without departments, for measuring.

    The units and practitioners are those of `dev.demo.world.of_size(seed, tenant_id, clinics)` and must be there.
    Exactly so many encounters come without an appointment; kept appointments bring their own.
    """
    world = of_size(seed, tenant_id, clinics)
    volume = Volume(patients, encounters, appointments, records=False, batch=batch)
    maker, numbers = Generator(world, volume, today, seed=seed), Numbers()
    for index in range(volume.batches):
        made, numbers = maker.batch(index, numbers)
        yield made
