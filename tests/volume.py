"""Fills a database with enough rows that the planner's choices are those of a real one.

Two health systems of 20,000 patients: one spreads them evenly over 20 clinics, in the other most are at one clinic.
Each patient has a site at a clinic, every second one also at its department, every tenth at a second clinic, and
two encounters and an appointment. Made by statements, not row by row, in a few seconds.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, text

from tests import make

PATIENTS = 20_000
CLINICS = 20


@dataclass(frozen=True)
class Volume:
    """A filled health system: its units, with the fullest clinic first."""

    tenant_id: uuid.UUID
    clinics: tuple[uuid.UUID, ...]
    departments: tuple[uuid.UUID, ...]
    a_patient: uuid.UUID


def fill(owner: Connection, *, skewed: bool, patients: int = PATIENTS) -> Volume:
    """Add a health system; half of the patients or more are at the first clinic when `skewed`. Analyze afterwards."""
    tree = make.tree(regions=2, clinics=CLINICS, departments=1)
    doctor = make.practitioner(tree.tenant)
    make.save(owner, *tree.rows, doctor)
    clinics = [clinic.id for clinic in tree.clinics]
    wards = [units[0].id for units in tree.departments]
    spread = "(power(random(), 8) * :clinics)::int" if skewed else "n"
    values = {
        "tenant": tree.tenant.tenant_id,
        "clinics": CLINICS,
        "patients": patients,
        "clinic_ids": clinics,
        "ward_ids": wards,
        "doctor": doctor.id,
    }
    for statement in (PEOPLE.replace(":spread", spread), SITES, SECOND_SITES, VISITS, BOOKINGS):
        owner.execute(text(statement), values)
    owner.execute(text("drop table drawn"))
    one = text("select id from patient where tenant_id = :t order by id limit 1")
    found = owner.execute(one, {"t": tree.tenant.tenant_id}).scalar_one()
    return Volume(tree.tenant.tenant_id, tuple(clinics), tuple(wards), found)


def analyze(owner: Connection) -> None:
    """Let the planner know what was filled in."""
    for table in ("patient", "patient_site", "encounter", "appointment", "org_unit"):
        owner.execute(text(f"analyze {table}"))


PEOPLE = """
create temporary table drawn as
select uuidv7() as id, n, 1 + (:spread % :clinics) as clinic,
    chr(97 + (n * 11) % 26) || chr(97 + (n * 7) % 26) || lpad((n % 997)::text, 3, '0') as family,
    chr(97 + (n * 5) % 26) || 'anna' as given, date '1930-01-01' + (n * 37) % 33000 as born
from generate_series(1, :patients) n"""

SITES = """
with made as (
    insert into patient (tenant_id, id, mrn, family_name, given_name, family_key, given_key, birth_date, sex)
    select :tenant, id, 'V' || n, family, given, family, given, born, 'female' from drawn)
insert into patient_site (tenant_id, unit_id, patient_id, clinic_id, family_key, given_key, birth_date)
select :tenant, (cast(:clinic_ids as uuid[]))[clinic], id, (cast(:clinic_ids as uuid[]))[clinic], family, given, born
from drawn
union all
select :tenant, (cast(:ward_ids as uuid[]))[clinic], id, (cast(:clinic_ids as uuid[]))[clinic], family, given, born
from drawn where n % 2 = 0"""

SECOND_SITES = """
insert into patient_site (tenant_id, unit_id, patient_id, clinic_id, family_key, given_key, birth_date)
select :tenant, (cast(:clinic_ids as uuid[]))[1 + clinic % :clinics], id,
    (cast(:clinic_ids as uuid[]))[1 + clinic % :clinics], family, given, born
from drawn where n % 10 = 0"""

VISITS = """
insert into encounter (tenant_id, id, clinic_id, unit_id, patient_id, state, started_at)
select :tenant, uuidv7(), (cast(:clinic_ids as uuid[]))[clinic],
    case when n % 2 = 0 then (cast(:ward_ids as uuid[]))[clinic] else (cast(:clinic_ids as uuid[]))[clinic] end,
    id, 'finished', timestamptz '2025-01-01 00:00+00' + make_interval(mins => (n * 211 + visit * 7919) % 500000)
from drawn, generate_series(1, 2) visit"""

BOOKINGS = """
insert into appointment (tenant_id, id, clinic_id, unit_id, patient_id, practitioner_id, state, starts_at, ends_at)
select :tenant, uuidv7(), (cast(:clinic_ids as uuid[]))[clinic], (cast(:clinic_ids as uuid[]))[clinic], id, :doctor,
    'booked', at, at + interval '20 minutes'
from drawn, lateral (select timestamptz '2026-01-01 00:00+00' + make_interval(mins => n * 7 % 300000) as at)"""
