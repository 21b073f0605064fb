"""The filled demo world keeps every rule that the product keeps."""

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from dev.demo import cast
from dev.demo.places import MERCY
from dev.demo.populate import populate
from domain.patients import Patient, check_sites
from domain.sealing import TenantKeys
from tests.demo.conftest import VOLUME, Filled

pytestmark = pytest.mark.anyio
TABLES = (
    "patient",
    "patient_site",
    "appointment",
    "appointment_block",
    "encounter",
    "note",
    "observation",
    "condition",
    "allergy_intolerance",
    "medication_request",
    "medication_statement",
    "procedure",
    "immunization",
    "payer",
    "coverage",
    "charge_master",
    "charge_item",
    "invoice",
    "invoice_line",
    "posting",
    "person",
    "role_grant",
    "practitioner",
    "bookable_resource",
    "resource_assignment",
    "org_unit",
    "audit_event",
    "counter",
)


def one(rows: Connection, filled: Filled, query: str) -> Any:
    return rows.execute(text(query), {"t": filled.tenant_id}).scalar_one()


def counts(rows: Connection, filled: Filled) -> dict[str, int]:
    return {t: one(rows, filled, f"select count(*) from {t} where tenant_id = :t") for t in TABLES}


def test_every_table_is_filled(rows: Connection, filled: Filled) -> None:
    found = counts(rows, filled)
    assert all(found.values()), found
    assert found["patient"] == VOLUME.patients
    assert found["person"] == len(cast.of("mercy"))
    assert found["appointment"] == found["appointment_block"] == VOLUME.appointments
    kept = "select count(*) from encounter where tenant_id = :t and appointment_id is null"
    assert one(rows, filled, kept) == VOLUME.encounters


async def test_a_second_run_changes_nothing(rows: Connection, filled: Filled) -> None:
    before = counts(rows, filled)
    versions = "select sum(version) from person where tenant_id = :t"
    people = one(rows, filled, versions)
    rows.rollback()
    await populate(filled.target, MERCY, volume=VOLUME)
    assert counts(rows, filled) == before
    assert one(rows, filled, versions) == people


def test_who_left_is_inactive(rows: Connection, filled: Filled) -> None:
    query = "select user_name from person where tenant_id = :t and not active"
    assert one(rows, filled, query) == "nurse.inactive"


def test_sites_repeat_their_patient(rows: Connection, filled: Filled) -> None:
    own = select(Patient).where(Patient.tenant_id == filled.tenant_id)
    assert rows.execute(check_sites(own)).all() == []
    without = (
        "select count(*) from patient p where tenant_id = :t and not exists (select from patient_site s"
        " where s.tenant_id = p.tenant_id and s.patient_id = p.id and s.unit_id = s.clinic_id)"
    )
    assert one(rows, filled, without) == 0


def test_patients_are_spread(rows: Connection, filled: Filled) -> None:
    several = (
        "select count(*) from (select patient_id from patient_site where tenant_id = :t"
        " and unit_id = clinic_id group by 1 having count(*) > 1) s"
    )
    assert 30 < one(rows, filled, several) < 150
    departments = "select count(distinct unit_id) from patient_site where tenant_id = :t"
    assert one(rows, filled, departments) == 18
    raised = "select count(*) from patient where tenant_id = :t and sensitivity > 0"
    assert one(rows, filled, raised) == VOLUME.patients // 125
    foreign = "select count(*) from patient where tenant_id = :t and family_name !~ '[A-Za-z]'"
    assert one(rows, filled, foreign) > 100


def test_nobody_is_seen_before_birth(rows: Connection, filled: Filled) -> None:
    query = (
        "select count(*) from encounter e join patient p on p.tenant_id = e.tenant_id"
        " and p.id = e.patient_id where e.tenant_id = :t and e.started_at::date < p.birth_date"
    )
    assert one(rows, filled, query) == 0


def test_nobody_is_booked_twice(rows: Connection, filled: Filled) -> None:
    """The constraint leaves out states that keep no time; the demo's calendar has no overlap at all."""
    overlaps = (
        "select count(*) from appointment_block a join appointment_block b on a.tenant_id = b.tenant_id"
        " and a.resource_id = b.resource_id and a.id < b.id and a.block && b.block where a.tenant_id = :t"
    )
    assert one(rows, filled, overlaps) == 0


def test_there_is_something_today_this_week_and_later(rows: Connection, filled: Filled) -> None:
    query = "select starts_at, state from appointment where tenant_id = :t"
    found = rows.execute(text(query), {"t": filled.tenant_id}).all()
    today = dt.datetime.now(dt.UTC).date()
    days = {(row.starts_at.date() - today).days for row in found}
    assert {0, 1, 7, 14} <= days
    assert any(day < -6 for day in days)
    assert {row.state for row in found if row.starts_at.date() > today + dt.timedelta(days=1)} <= {
        "booked",
        "pending",
        "proposed",
        "cancelled",
        "waitlist",
    }


def test_invoices_are_gapless_and_add_up(rows: Connection, filled: Filled) -> None:
    last = one(rows, filled, "select max(number) from invoice where tenant_id = :t")
    assert last == one(rows, filled, "select count(*) from invoice where tenant_id = :t")
    assert last == one(
        rows, filled, "select value from counter where tenant_id = :t and name = 'invoice'"
    )
    wrong = (
        "select count(*) from invoice i where tenant_id = :t and total_minor <> (select sum(amount_minor)"
        " from invoice_line l where l.tenant_id = i.tenant_id and l.invoice_id = i.id)"
    )
    assert one(rows, filled, wrong) == 0
    states = (
        "select count(*) from invoice i where tenant_id = :t and (state = 'balanced') <> (total_minor ="
        " coalesce((select sum(a.amount_minor) from allocation a join invoice_line l"
        " on l.tenant_id = a.tenant_id and l.id = a.invoice_line_id"
        " where a.tenant_id = i.tenant_id and l.invoice_id = i.id), 0))"
    )
    assert one(rows, filled, states) == 0


def test_notes_are_sealed_and_belong_to_people_who_may_write_them(
    rows: Connection, filled: Filled
) -> None:
    query = (
        "select n.id, n.body_sealed, n.state, p.user_name from note n join person p"
        " on p.tenant_id = n.tenant_id and p.id = n.author_id where n.tenant_id = :t"
    )
    found = rows.execute(text(query), {"t": filled.tenant_id}).all()
    sealer = filled.target.sealer
    assert isinstance(sealer, TenantKeys)
    bodies = {sealer.open("note.body_sealed", row.id, row.body_sealed) for row in found}
    assert all(body.startswith(b"S: ") for body in bodies)
    assert {row.state for row in found} == {"draft", "signed"}
    authors = {row.user_name for row in found}
    assert len(authors) >= 5
    assert all(cast.member(name).practitioner for name in authors)


def test_no_price_needs_a_licence(rows: Connection, filled: Filled) -> None:
    query = "select distinct code_system from charge_master where tenant_id = :t"
    assert one(rows, filled, query) == "INTERNAL"
