"""The data set: one health system of many clinics, made by the database itself, the same each time."""

import hashlib
import time
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import psycopg

from dev.bench import clinic_day
from migrations import run

Say = Callable[[str], None]

PEOPLE = {"one": 1, "twenty": 20, "some": 200, "all": 500}
"""People by how many clinics they administer (as many as there are, at the most)."""


def uid(kind: int, number: int) -> uuid.UUID:
    """The id of a row of the data set: a kind of row and its number."""
    return uuid.UUID(hex=f"{kind:08x}{number:024x}")


KIND = {
    "tenant": 1,
    "unit": 2,
    "clinic": 3,
    "person": 4,
    "patient": 5,
    "practitioner": 6,
    "encounter": 7,
    "appointment": 8,
    "invoice": 9,
    "posting": 10,
    "grant": 11,
    "observation": 12,
    "condition": 13,
    "allergy": 14,
    "prescription": 15,
    "charge": 16,
    "line": 17,
    "part": 18,
    "room": 19,
    "rule": 20,
    "visit": 21,
}


def made(kind: str, number: str) -> str:
    """The SQL of `uid` for an expression."""
    head = f"{KIND[kind]:08x}"
    return f"('{head}' || lpad(to_hex({number}), 24, '0'))::uuid"


TENANT = "insert into tenant (tenant_id, slug, name) values ({t}, 'bench', 'Bench')"

UNITS = """
insert into org_unit (tenant_id, id, level, name) values ({t}, {root}, 'system', 'Bench');
insert into org_unit (tenant_id, id, parent_id, clinic_id, level, name, zone)
select {t}, {clinic_n}, {root}, {clinic_n}, 'clinic', 'Clinic ' || n, 'Europe/Berlin'
from generate_series(1, {clinics}) n"""

PRACTITIONERS = """
insert into practitioner (tenant_id, id, given_name, family_name)
select {t}, {practitioner_n}, 'Dana', 'Doctor ' || n from generate_series(1, {doctors}) n;
insert into bookable_resource (tenant_id, id, kind, name, practitioner_id)
select {t}, {practitioner_n}, 'practitioner', 'Doctor ' || n, {practitioner_n}
from generate_series(1, {doctors}) n;
insert into resource_assignment (tenant_id, resource_id, unit_id, clinic_id)
select {t}, {practitioner_n}, {clinic}, {clinic} from generate_series(1, {doctors}) n"""

PATIENTS = """
insert into patient (tenant_id, id, mrn, family_name, given_name, family_key, given_key, birth_date,
    sex, phone, email, address_line, city, postal_code, country)
select {t}, {patient}, 'B' || n, {name}, 'Kim', lower({name}), 'kim', date '1930-01-01' + n % 32000,
    case n % 2 when 0 then 'female' else 'male' end, '+4930' || (1000000 + n),
    'p' || n || '@example.org', n || ' Main Street', 'Berlin', lpad((n % 100000)::text, 5, '0'), 'DE'
from generate_series(1, {patients}) n"""

SITES = """
insert into patient_site (tenant_id, unit_id, patient_id, clinic_id, family_key, given_key, birth_date)
select tenant_id, {clinic}, id, {clinic}, family_key, given_key, birth_date
from (select p.*, substr(mrn, 2)::int n from patient p) p"""

# A prime number of hours, so that the visits of an hour are spread over the clinics.
ENCOUNTERS = """
insert into encounter (tenant_id, id, clinic_id, unit_id, patient_id, practitioner_id, state, kind,
    reason, started_at, ended_at)
select {t}, {encounter}, {clinic}, {clinic}, {patient}, {doctor}, 'finished', 'AMB', 'Check-up',
    begins, begins + interval '20 minutes'
from generate_series(1, {patients}) n, generate_series(0, 3) k, lateral (select
    timestamptz '2024-01-05 08:00+00' + (n % 7993) * interval '1 hour' + k * interval '90 days' as begins) at"""

OBSERVATIONS = """
insert into observation (tenant_id, id, clinic_id, unit_id, patient_id, encounter_id, code, display,
    value_quantity, unit, effective_at)
select {t}, {observation}, {clinic}, {clinic}, {patient}, {first_encounter}, '8867-4', 'Heart rate',
    60 + n % 40, '/min', timestamptz '2026-01-05 08:10+00' from generate_series(1, {patients}) n"""

APPOINTMENTS = """
insert into appointment (tenant_id, id, clinic_id, unit_id, patient_id, practitioner_id, state,
    starts_at, ends_at, reason)
select {t}, {appointment}, {clinic}, {clinic}, {patient}, {doctor}, 'booked',
    begins, begins + interval '20 minutes', 'Follow-up'
from generate_series(1, {patients}, 2) n, lateral (select
    timestamptz '2035-01-01 08:00+00' + n * interval '30 minutes' as begins) at"""

INVOICES = """
insert into invoice (tenant_id, id, clinic_id, unit_id, patient_id, number, state, issued_at, total_minor)
select {t}, {invoice}, {clinic}, {clinic}, {patient}, n, 'issued',
    timestamptz '2026-02-01 08:00+00' + n * interval '1 second', 12000
from generate_series(1, {patients}) n"""

POSTINGS = """
insert into posting (tenant_id, id, clinic_id, unit_id, patient_id, kind, amount_minor, invoice_id, posted_at)
select {t}, {posting}, {clinic}, {clinic}, {patient}, 'payment', 2000, {invoice},
    timestamptz '2026-03-01 08:00+00' from generate_series(1, {patients}, 2) n"""

STEPS = {
    "tenant": TENANT,
    "units": UNITS,
    "practitioners": PRACTITIONERS,
    "patients": PATIENTS,
    "sites": SITES,
    "encounters": ENCOUNTERS,
    "observations": OBSERVATIONS,
    "appointments": APPOINTMENTS,
    "invoices": INVOICES,
    "postings": POSTINGS,
    **clinic_day.STEPS,
}


def statements(clinics: int, patients: int) -> list[tuple[str, str]]:
    """(what it makes, SQL). A patient's clinic is its number modulo the clinics; each has 4 encounters."""
    kinds = ["patient", "observation", "appointment", "invoice", "posting"]
    kinds += ["condition", "allergy", "prescription", "charge", "line", "part"]
    values = {
        "t": f"'{uid(KIND['tenant'], 1)}'::uuid",
        "root": f"'{uid(KIND['unit'], 1)}'::uuid",
        "clinic": made("clinic", f"1 + n % {clinics}"),
        "clinic_n": made("clinic", "n"),
        "practitioner_n": made("practitioner", "n"),
        "doctor": made("practitioner", f"1 + n % {clinics}"),
        "name": "initcap(translate(substr(md5(n::text), 1, 7), '0123456789', 'ghijklmnop'))",
        "encounter": made("encounter", "n * 4 + k"),
        "first_encounter": made("encounter", "n * 4"),
        "clinics": clinics,
        "doctors": clinics * 4,
        "patients": patients,
        "first_open": clinic_day.OPEN[0],
        "last_open": clinic_day.OPEN[-1],
        "rooms": clinic_day.ROOMS,
        "week": clinic_day.WEEK,
        "clinic_c": made("clinic", "c"),
        "patient_c": made("patient", f"c - 1 + {clinics} * (1 + k)"),
        "doctor_c": made("practitioner", "c - 1"),
        "room": made("room", "c * 100 + k"),
        "rule": made("rule", "c * 100 + k"),
        "visit": made("visit", "((c * 100 + k) * 10 + d) * 10 + h"),
        **{kind: made(kind, "n") for kind in kinds},
    }
    values["busy"] = clinic_day.BUSY.format(**values)
    made_of = [(what, template.format(**values)) for what, template in STEPS.items()]
    return [*made_of, ("people", people(clinics))]


def people(clinics: int) -> str:
    """Clinic administrators: every group of fields is theirs, so all answers are whole."""
    t = f"'{uid(KIND['tenant'], 1)}'::uuid"
    out = []
    for number, (name, wanted) in enumerate(PEOPLE.items(), 1):
        person = f"'{uid(KIND['person'], number)}'::uuid"
        out.append(
            "insert into person (tenant_id, id, subject, user_name, given_name, family_name)"
            f" values ({t}, {person}, '{name}', '{name}', 'Robin', 'Load')"
        )
        out.append(
            "insert into role_grant (tenant_id, id, person_id, role, unit_id, valid_from)"
            f" select {t}, {made('grant', f'{number * 10_000} + n')}, {person}, 'clinic_admin',"
            f" {made('clinic', 'n')}, timestamptz '2026-01-01' from generate_series(1, {min(wanted, clinics)}) n"
        )
    return ";".join(out)


def inside(admin_url: str, database_url: str) -> str:
    """The administrator's URL of the database to which another URL leads."""
    return urlunsplit(urlsplit(admin_url)._replace(path=urlsplit(database_url).path))


def build(owner_url: str, admin_url: str, clinics: int, patients: int, say: Say) -> None:
    """Migrate the database and fill it, unless it is filled with these data already. Minutes for 500,000 patients."""
    run.upgrade(owner_url)
    steps = statements(clinics, patients)
    digest = hashlib.sha256(repr(steps).encode()).hexdigest()[:16]
    with psycopg.connect(inside(admin_url, owner_url), autocommit=True) as admin:
        # The people come last, so they tell that all is there; the system's name tells what it was made by.
        there = "select 1 from person p join org_unit u on u.level = 'system' where p.user_name = 'all' and u.name = %s"
        if admin.execute(there, [digest]).fetchone():
            say(f"{patients:,} patients are there already")
            return
        admin.execute("truncate tenant cascade")
        began = time.monotonic()
        for number, (what, text) in enumerate(steps, 1):
            say(f"{patients:,} patients, step {number} of {len(steps) + 1}: {what}")
            with admin.transaction():
                # As a replica the server takes foreign keys for granted: they hold by construction.
                admin.execute("set local session_replication_role = replica")
                admin.execute("set local synchronous_commit = off")
                admin.execute(text.encode())
        say(f"{patients:,} patients, step {len(steps) + 1} of {len(steps) + 1}: statistics")
        admin.execute("update org_unit set name = %s where level = 'system'", [digest])
        admin.execute("vacuum analyze")
        say(f"{patients:,} patients were made in {time.monotonic() - began:.0f} s")
