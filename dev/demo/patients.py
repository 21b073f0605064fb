"""Invented patients: names of several languages, plausible ages, addresses in invented towns."""

import datetime as dt
import random
import uuid
from dataclasses import dataclass
from functools import lru_cache

from dev.demo.ids import Ids
from dev.demo.names import CULTURES, STREETS, TOWNS, Culture, gendered
from dev.demo.rows import Batch
from dev.demo.world import Clinic
from domain.keys import Sealer
from domain.patients import fold
from domain.patients.commands import NATIONAL_ID

SENSITIVE_EVERY = 125
WEIGHTS = [c.weight for c in CULTURES]
SECOND_CLINIC, DEPARTMENT = 0.12, 0.6
YOUNGEST, OLDEST = 10, 96  # days, years


@dataclass(frozen=True)
class Home:
    """A clinic where the patient is seen, and the unit of it: a department, or the clinic itself."""

    clinic: Clinic
    unit_id: uuid.UUID


@dataclass(frozen=True)
class Made:
    """A patient that was put into the batch, for the rows that follow."""

    id: uuid.UUID
    sensitivity: int
    homes: tuple[Home, ...]
    days_old: int
    alive: bool


@lru_cache(maxsize=4096)
def _key(name: str) -> str:
    return fold(name)


def homes(chance: random.Random, clinics: tuple[Clinic, ...]) -> tuple[Home, ...]:
    """One clinic for most, two or three for some; within a clinic often one department."""
    count = 1
    while count < min(3, len(clinics)) and chance.random() < SECOND_CLINIC:
        count += 1
    chosen = chance.sample(clinics, count) if count > 1 else [chance.choice(clinics)]
    return tuple(
        Home(
            c,
            chance.choice(c.departments)
            if c.departments and chance.random() < DEPARTMENT
            else c.id,
        )
        for c in chosen
    )


def patient(
    batch: Batch,
    tenant_id: uuid.UUID,
    number: int,
    today: dt.date,
    ids: Ids,
    chance: random.Random,
    at: tuple[Home, ...],
    sealer: Sealer | None,
) -> Made:
    """Put a patient and their sites into the batch. `number` makes the MRN.

    Every 125th is of raised sensitivity; without a sealer nobody has a national identifier.
    """
    culture = chance.choices(CULTURES, WEIGHTS)[0]
    woman = chance.random() < 0.51
    given = chance.choice(culture.women if woman else culture.men).replace("-", " ")
    family = gendered(chance.choice(culture.families), woman).replace("-", " ")
    sensitivity = 1 + number % 2 if number % SENSITIVE_EVERY == 0 else 0
    days_old = int(chance.triangular(YOUNGEST, OLDEST * 365, 42 * 365))
    made = Made(ids.new(), sensitivity, at, days_old, alive=number % 173 != 0)
    copied = {
        "family_key": _key(family),
        "given_key": _key(given),
        "birth_date": today - dt.timedelta(days=days_old),
        "sensitivity": made.sensitivity,
        "active": True,
    }
    row = {
        "tenant_id": tenant_id,
        "id": made.id,
        "mrn_assigner": "",
        "mrn": f"{number:08d}",
        "family_name": family,
        "given_name": given,
        **copied,
        "preferred_name": culture.women[0] if woman and number % 53 == 0 else None,
        "sex": ("female" if woman else "male") if number % 211 else "other",
        **_contact(number, culture, chance),
        "deceased_on": None if made.alive else today - dt.timedelta(days=1),
        **_identified(sealer, made.id, number),
    }
    batch.add("patient", row)
    for unit_id, clinic_id in dict.fromkeys(
        (unit, home.clinic.id) for home in at for unit in (home.clinic.id, home.unit_id)
    ):
        site = {"tenant_id": tenant_id, "unit_id": unit_id, "patient_id": made.id}
        batch.add("patient_site", {**site, "clinic_id": clinic_id, **copied})
    return made


def _contact(number: int, culture: Culture, chance: random.Random) -> dict[str, object]:
    """Telephone numbers are of the range kept for fiction, e-mail addresses of a reserved domain (RFC 2606)."""
    town, code = chance.choice(TOWNS)
    area = (212, 303, 415, 603, 617, 773)[number % 6]
    return {
        "phone": f"+1{area}55501{number % 100:02d}" if number % 9 else None,
        "email": f"patient{number}@example.org" if number % 3 else None,
        "language": culture.language,
        "address_line": f"{chance.randint(1, 240)} {chance.choice(STREETS)}",
        "city": town,
        "postal_code": code,
        "country": "US",
    }


def _identified(sealer: Sealer | None, patient_id: uuid.UUID, number: int) -> dict[str, object]:
    """A national identifier for two thirds: a social security number of the 900s, which are never given out."""
    if sealer is None or number % 3 == 0:
        return {"national_id_sealed": None, "national_id_index": None}
    plain = f"9{number // 1_000_000:02d}{number % 1_000_000:06d}"
    written = f"{plain[:3]}-{plain[3:5]}-{plain[5:]}"
    return {
        "national_id_sealed": sealer.seal(NATIONAL_ID, patient_id, written.encode()),
        "national_id_index": sealer.index(plain.encode()),
    }
