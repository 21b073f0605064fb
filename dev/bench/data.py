"""The data set: one health system of many clinics, made by the database itself, the same each time."""

import time
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import psycopg

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
}


def made(kind: str, number: str) -> str:
    """The SQL of `uid` for an expression."""
    head = f"{KIND[kind]:08x}"
    return f"('{head}' || lpad(to_hex({number}), 24, '0'))::uuid"


def statements(clinics: int, patients: int) -> list[tuple[str, str]]:
    """(what it makes, SQL). A patient's clinic is its number modulo the clinics; each has 4 encounters."""
    t = f"'{uid(KIND['tenant'], 1)}'::uuid"
    root = f"'{uid(KIND['unit'], 1)}'::uuid"
    clinic = made("clinic", f"1 + n % {clinics}")
    name = "initcap(translate(substr(md5(n::text), 1, 7), '0123456789', 'ghijklmnop'))"
    return [
        (
            "tenant",
            f"insert into tenant (tenant_id, slug, name) values ({t}, 'bench', 'Bench')",
        ),
        (
            "units",
            f"insert into org_unit (tenant_id, id, level, name) values ({t}, {root}, 'system', 'Bench');"
            "insert into org_unit (tenant_id, id, parent_id, clinic_id, level, name, zone)"
            f" select {t}, {made('clinic', 'n')}, {root}, {made('clinic', 'n')}, 'clinic',"
            f" 'Clinic ' || n, 'Europe/Berlin' from generate_series(1, {clinics}) n",
        ),
        (
            "practitioners",
            "insert into practitioner (tenant_id, id, given_name, family_name)"
            f" select {t}, {made('practitioner', 'n')}, 'Dana', 'Doctor ' || n from generate_series(1, {clinics * 4}) n;"
            "insert into bookable_resource (tenant_id, id, kind, name, practitioner_id)"
            f" select {t}, {made('practitioner', 'n')}, 'practitioner', 'Doctor ' || n, {made('practitioner', 'n')}"
            f" from generate_series(1, {clinics * 4}) n;"
            "insert into resource_assignment (tenant_id, resource_id, unit_id, clinic_id)"
            f" select {t}, {made('practitioner', 'n')}, {clinic}, {clinic} from generate_series(1, {clinics * 4}) n",
        ),
        (
            "patients",
            "insert into patient (tenant_id, id, mrn, family_name, given_name, family_key, given_key, birth_date,"
            " sex, phone, email, address_line, city, postal_code, country)"
            f" select {t}, {made('patient', 'n')}, 'B' || n, {name}, 'Kim', lower({name}), 'kim',"
            " date '1930-01-01' + n % 32000, case n % 2 when 0 then 'female' else 'male' end,"
            " '+4930' || (1000000 + n), 'p' || n || '@example.org', n || ' Main Street', 'Berlin',"
            f" lpad((n % 100000)::text, 5, '0'), 'DE' from generate_series(1, {patients}) n",
        ),
        (
            "sites",
            "insert into patient_site (tenant_id, unit_id, patient_id, clinic_id, family_key, given_key, birth_date)"
            f" select tenant_id, {clinic}, id, {clinic}, family_key, given_key, birth_date"
            " from (select p.*, substr(mrn, 2)::int n from patient p) p",
        ),
        (
            "encounters",
            "insert into encounter (tenant_id, id, clinic_id, unit_id, patient_id, practitioner_id, state, kind,"
            " reason, started_at, ended_at)"
            f" select {t}, {made('encounter', 'n * 4 + k')}, {clinic}, {clinic}, {made('patient', 'n')},"
            f" {made('practitioner', f'1 + n % {clinics}')}, 'finished', 'AMB', 'Check-up',"
            " timestamptz '2026-01-05 08:00+00' + (n % 8000) * interval '1 hour' + k * interval '90 days',"
            " timestamptz '2026-01-05 08:20+00' + (n % 8000) * interval '1 hour' + k * interval '90 days'"
            f" from generate_series(1, {patients}) n, generate_series(0, 3) k",
        ),
        (
            "observations",
            "insert into observation (tenant_id, id, clinic_id, unit_id, patient_id, encounter_id, code, display,"
            " value_quantity, unit, effective_at)"
            f" select {t}, {made('observation', 'n')}, {clinic}, {clinic}, {made('patient', 'n')},"
            f" {made('encounter', 'n * 4')}, '8867-4', 'Heart rate', 60 + n % 40, '/min', timestamptz '2026-01-05 08:10+00'"
            f" from generate_series(1, {patients}) n",
        ),
        (
            "appointments",
            "insert into appointment (tenant_id, id, clinic_id, unit_id, patient_id, practitioner_id, state,"
            " starts_at, ends_at, reason)"
            f" select {t}, {made('appointment', 'n')}, {clinic}, {clinic}, {made('patient', 'n')},"
            f" {made('practitioner', f'1 + n % {clinics}')}, 'booked',"
            " timestamptz '2035-01-01 08:00+00' + n * interval '30 minutes',"
            " timestamptz '2035-01-01 08:20+00' + n * interval '30 minutes', 'Follow-up'"
            f" from generate_series(1, {patients}, 2) n",
        ),
        (
            "invoices",
            "insert into invoice (tenant_id, id, clinic_id, unit_id, patient_id, number, state, issued_at, total_minor)"
            f" select {t}, {made('invoice', 'n')}, {clinic}, {clinic}, {made('patient', 'n')}, n, 'issued',"
            f" timestamptz '2026-02-01 08:00+00' + n * interval '1 second', 12000 from generate_series(1, {patients}) n",
        ),
        (
            "postings",
            "insert into posting (tenant_id, id, clinic_id, unit_id, patient_id, kind, amount_minor, invoice_id, posted_at)"
            f" select {t}, {made('posting', 'n')}, {clinic}, {clinic}, {made('patient', 'n')}, 'payment', 2000,"
            f" {made('invoice', 'n')}, timestamptz '2026-03-01 08:00+00' from generate_series(1, {patients}, 2) n",
        ),
        ("people", people(clinics)),
    ]


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


def build(owner_url: str, admin_url: str, clinics: int, patients: int, say: Say) -> None:
    """Migrate the database and fill it, unless it is filled already. Minutes for 500,000 patients."""
    run.upgrade(owner_url)
    name = urlsplit(owner_url).path
    with psycopg.connect(
        urlunsplit(urlsplit(admin_url)._replace(path=name)), autocommit=True
    ) as admin:
        if admin.execute("select 1 from person where user_name = 'all'").fetchone():
            say("the data set is there already")
            return
        admin.execute("truncate tenant cascade")
        began = time.monotonic()
        for what, text in statements(clinics, patients):
            say(f"making {what}")
            with admin.transaction():
                # As a replica the server takes foreign keys for granted: they hold by construction.
                admin.execute("set local session_replication_role = replica")
                admin.execute("set local synchronous_commit = off")
                admin.execute(text.encode())
        say("gathering statistics")
        admin.execute("vacuum analyze")
        say(f"made in {time.monotonic() - began:.0f} s")
