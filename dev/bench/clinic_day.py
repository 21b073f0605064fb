"""What a clinic's day needs besides visits and bills: charts, ledgers in lines, and clinics with opening hours.

SQL templates for `dev.bench.data`, in the order in which they run.
"""

OPEN = range(21, 31)
"""Clinics with opening hours, 30 resources each and a busy week. The load books at the first 20, which have none."""
ROOMS = 26  # beside the four practitioners of a clinic
WEEK = "2034-06-05"  # a Monday

CONDITIONS = """
insert into condition (tenant_id, id, clinic_id, unit_id, patient_id, encounter_id, recorded_at, code_system, code,
    display, category)
select {t}, {condition}, {clinic}, {clinic}, {patient}, {first_encounter}, timestamptz '2026-01-05 08:15+00',
    'http://hl7.org/fhir/sid/icd-10-cm', 'I10', 'Essential hypertension', 'problem-list-item'
from generate_series(1, {patients}) n"""

ALLERGIES = """
insert into allergy_intolerance (tenant_id, id, clinic_id, unit_id, patient_id, clinical_status, verification_status,
    code_system, code, display, effective_at)
select {t}, {allergy}, {clinic}, {clinic}, {patient}, 'active', 'confirmed', 'http://snomed.info/sct', '91936005',
    'Allergy to penicillin', timestamptz '2026-01-05 08:15+00' from generate_series(1, {patients}, 2) n"""

PRESCRIPTIONS = """
insert into medication_request (tenant_id, id, clinic_id, unit_id, patient_id, encounter_id, state, code_system, code,
    display, dosage, practitioner_id, effective_at)
select {t}, {prescription}, {clinic}, {clinic}, {patient}, {first_encounter}, 'active',
    'http://www.nlm.nih.gov/research/umls/rxnorm', '314076', 'Lisinopril 10 mg', 'one a day', {doctor},
    timestamptz '2026-01-05 08:15+00' from generate_series(1, {patients}, 2) n"""

CHARGES = """
insert into charge_item (tenant_id, id, clinic_id, unit_id, patient_id, encounter_id, state, code_system, code,
    description, unit_price_minor, amount_minor, occurred_at)
select {t}, {charge}, {clinic}, {clinic}, {patient}, {first_encounter}, 'billed', 'INTERNAL', 'V20', 'Visit', 12000, 12000,
    timestamptz '2026-01-05 08:30+00' from generate_series(1, {patients}) n;
insert into invoice_line (tenant_id, id, clinic_id, unit_id, patient_id, invoice_id, charge_item_id, code, description,
    units, unit_price_minor, amount_minor)
select {t}, {line}, {clinic}, {clinic}, {patient}, {invoice}, {charge}, 'V20', 'Visit', 1, 12000, 12000
from generate_series(1, {patients}) n"""

ALLOCATIONS = """
insert into allocation (tenant_id, id, clinic_id, unit_id, patient_id, posting_id, posting_minor, invoice_line_id,
    line_minor, amount_minor, allocated_at)
select {t}, {part}, {clinic}, {clinic}, {patient}, {posting}, 2000, {line}, 12000, 2000,
    timestamptz '2026-03-01 08:00+00' from generate_series(1, {patients}, 2) n"""

ROOMS_AND_HOURS = """
insert into bookable_resource (tenant_id, id, kind, name)
select {t}, {room}, 'room', 'Room ' || k from generate_series({first_open}, {last_open}) c, generate_series(1, {rooms}) k;
insert into resource_assignment (tenant_id, resource_id, unit_id, clinic_id)
select {t}, {room}, {clinic_c}, {clinic_c} from generate_series({first_open}, {last_open}) c, generate_series(1, {rooms}) k;
insert into schedule_rule (tenant_id, id, clinic_id, unit_id, resource_id, weekdays, opens, closes, minutes, step, valid_from)
select {t}, {rule}, {clinic_c}, {clinic_c}, r.resource_id, array['mon', 'tue', 'wed', 'thu', 'fri'], '08:00', '18:00',
    30, 30, date '2026-01-01'
from generate_series({first_open}, {last_open}) c join lateral (select a.resource_id, row_number() over (order by a.resource_id) k
    from resource_assignment a where a.tenant_id = {t} and a.clinic_id = {clinic_c}) r on true"""

BUSY_WEEK = """
insert into appointment (tenant_id, id, clinic_id, unit_id, patient_id, practitioner_id, state, starts_at, ends_at)
select {t}, {visit}, {clinic_c}, {clinic_c}, {patient_c}, {doctor_c}, 'booked', begins, begins + interval '30 minutes'
from {busy};
insert into appointment_block (tenant_id, id, clinic_id, unit_id, appointment_id, resource_id, state, block)
select {t}, {visit}, {clinic_c}, {clinic_c}, {visit}, r.resource_id, 'booked', tstzrange(begins, begins + interval '30 minutes')
from {busy}"""

BUSY = (
    "generate_series({first_open}, {last_open}) c join lateral (select a.resource_id,"
    " row_number() over (order by a.resource_id) k from resource_assignment a"
    " where a.tenant_id = {t} and a.clinic_id = {clinic_c}) r on true,"
    " generate_series(0, 4) d, generate_series(0, 7) h,"
    " lateral (select timestamptz '{week} 08:00 Europe/Berlin' + d * interval '1 day' + h * interval '1 hour' as begins) at"
)
"""Each resource of an open clinic, each workday, every other half hour."""

STEPS = {
    "conditions": CONDITIONS,
    "allergies": ALLERGIES,
    "prescriptions": PRESCRIPTIONS,
    "charges": CHARGES,
    "allocations": ALLOCATIONS,
    "opening hours": ROOMS_AND_HOURS,
    "a busy week": BUSY_WEEK,
}
