"""Allergies, medications, procedures and vaccinations: coded entries of a patient's chart.

Every row whose state follows a table keeps the state before, and a check refuses a step that the table does not
have. Expand only: code of the revision before runs on.

Revision: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ENTRY = """\
create table {table} (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    encounter_id uuid,
    code_system text not null,
    code text not null,
    display text,
    effective_at timestamp with time zone not null,
    recorded_by uuid,
    state_before text,
    error_reason text,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
{own}
    constraint pk_{table} primary key (tenant_id, id),
    constraint fk_{table}_unit foreign key (tenant_id, unit_id, clinic_id)
        references org_unit (tenant_id, id, clinic_id),
    constraint fk_{table}_patient_at_clinic foreign key (tenant_id, clinic_id, patient_id, sensitivity)
        references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_{table}_patient_at_unit foreign key (tenant_id, unit_id, patient_id)
        references patient_site (tenant_id, unit_id, patient_id),
    constraint fk_{table}_encounter
        foreign key (tenant_id, encounter_id, clinic_id, unit_id, patient_id, sensitivity)
        references encounter (tenant_id, id, clinic_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_{table}_recorded_by foreign key (tenant_id, recorded_by) references person (tenant_id, id)
);
create index ix_{table}_encounter on {table} (tenant_id, encounter_id, id) where encounter_id is not null;
create index ix_{table}_patient on {table} (tenant_id, patient_id, effective_at, id);
create statistics st_{table}_place (dependencies) on tenant_id, clinic_id, unit_id from {table};

alter table {table} enable row level security, force row level security;
create policy {table}_read on {table} for select to caretree_app
    using (tenant_id = app_tenant() and {read});
create policy {table}_insert on {table} for insert to caretree_app
    with check (tenant_id = app_tenant() and {write});
create policy {table}_update on {table} for update to caretree_app
    using (tenant_id = app_tenant() and {write}) with check (tenant_id = app_tenant() and {write});
grant select, insert on {table} to caretree_app;
grant update ({free}) on {table} to caretree_app;
"""
WITHIN = (
    "((select app_all('{setting}')) or {table}.clinic_id = any ((select app_units('{setting}'))::uuid[])"
    " or {table}.unit_id = any ((select app_units('{setting}'))::uuid[]))"
)
CHANGEABLE = (
    *("code_system", "code", "display", "effective_at", "recorded_by", "state_before", "error_reason"),
    *("version", "updated_at"),
)

# Each table: the name by which policies know its resource, and what it has beyond what all have.
ENTRIES = (
    (
        "allergy_intolerance",
        "allergy",
        """\
    clinical_status text not null,
    verification_status text not null,
    kind text,
    category text,
    criticality text,
    reaction text,
    onset_on date,
    constraint ck_allergy_intolerance_verification_status check (verification_status in ('unconfirmed', 'confirmed',
        'refuted', 'entered-in-error')),
    constraint ck_allergy_intolerance_state_step check (state_before is null or (state_before, verification_status) in
        (('unconfirmed', 'confirmed'), ('unconfirmed', 'refuted'), ('unconfirmed', 'entered-in-error'), ('confirmed',
        'unconfirmed'), ('confirmed', 'refuted'), ('confirmed', 'entered-in-error'), ('refuted', 'unconfirmed'), ('refuted',
        'confirmed'), ('refuted', 'entered-in-error'))),
    constraint ck_allergy_intolerance_error_reason check (error_reason is null or verification_status = 'entered-in-error'),
    constraint ck_allergy_intolerance_clinical_status check (clinical_status in ('active', 'inactive', 'resolved')),
    constraint ck_allergy_intolerance_kind check (kind in ('allergy', 'intolerance')),
    constraint ck_allergy_intolerance_category check (category in ('food', 'medication', 'environment', 'biologic')),
    constraint ck_allergy_intolerance_criticality check (criticality in ('low', 'high', 'unable-to-assess')),
""",
    ),
    (
        "medication_request",
        "medication_request",
        """\
    state text not null,
    intent text default 'order' not null,
    dosage text,
    practitioner_id uuid,
    starts_on date,
    ends_on date,
    constraint ck_medication_request_state check (state in ('draft', 'active', 'on-hold', 'completed', 'stopped',
        'cancelled', 'entered-in-error', 'unknown')),
    constraint ck_medication_request_state_step check (state_before is null or (state_before, state) in (('draft',
        'active'), ('draft', 'cancelled'), ('draft', 'entered-in-error'), ('active', 'on-hold'), ('active', 'completed'),
        ('active', 'stopped'), ('active', 'cancelled'), ('active', 'entered-in-error'), ('on-hold', 'active'), ('on-hold',
        'completed'), ('on-hold', 'stopped'), ('on-hold', 'cancelled'), ('on-hold', 'entered-in-error'), ('completed',
        'entered-in-error'), ('stopped', 'entered-in-error'), ('cancelled', 'entered-in-error'), ('unknown', 'active'),
        ('unknown', 'on-hold'), ('unknown', 'completed'), ('unknown', 'stopped'), ('unknown', 'cancelled'), ('unknown',
        'entered-in-error'))),
    constraint ck_medication_request_error_reason check (error_reason is null or state = 'entered-in-error'),
    constraint ck_medication_request_intent check (intent in ('proposal', 'plan', 'order', 'original-order',
        'reflex-order', 'filler-order', 'instance-order', 'option')),
    constraint ck_medication_request_period check (ends_on is null or ends_on >= starts_on),
    constraint fk_medication_request_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id),
""",
    ),
    (
        "medication_statement",
        "medication_statement",
        """\
    state text not null,
    dosage text,
    request_id uuid,
    starts_on date,
    ends_on date,
    constraint ck_medication_statement_state check (state in ('intended', 'active', 'on-hold', 'not-taken', 'completed',
        'stopped', 'entered-in-error', 'unknown')),
    constraint ck_medication_statement_state_step check (state_before is null or (state_before, state) in (('intended',
        'active'), ('intended', 'not-taken'), ('intended', 'entered-in-error'), ('active', 'on-hold'), ('active', 'completed'),
        ('active', 'stopped'), ('active', 'entered-in-error'), ('on-hold', 'active'), ('on-hold', 'completed'), ('on-hold',
        'stopped'), ('on-hold', 'entered-in-error'), ('not-taken', 'active'), ('not-taken', 'entered-in-error'), ('completed',
        'entered-in-error'), ('stopped', 'entered-in-error'), ('unknown', 'active'), ('unknown', 'on-hold'), ('unknown',
        'not-taken'), ('unknown', 'completed'), ('unknown', 'stopped'), ('unknown', 'entered-in-error'))),
    constraint ck_medication_statement_error_reason check (error_reason is null or state = 'entered-in-error'),
    constraint ck_medication_statement_period check (ends_on is null or ends_on >= starts_on),
    constraint fk_medication_statement_request foreign key(tenant_id, request_id) references medication_request (tenant_id, id),
""",
    ),
    (
        "procedure",
        "procedure",
        """\
    state text not null,
    practitioner_id uuid,
    ended_at timestamp with time zone,
    outcome text,
    constraint ck_procedure_state check (state in ('preparation', 'in-progress', 'not-done', 'on-hold', 'stopped',
        'completed', 'entered-in-error', 'unknown')),
    constraint ck_procedure_state_step check (state_before is null or (state_before, state) in (('preparation',
        'in-progress'), ('preparation', 'not-done'), ('preparation', 'entered-in-error'), ('in-progress', 'on-hold'),
        ('in-progress', 'stopped'), ('in-progress', 'completed'), ('in-progress', 'entered-in-error'), ('not-done',
        'entered-in-error'), ('on-hold', 'in-progress'), ('on-hold', 'stopped'), ('on-hold', 'entered-in-error'), ('stopped',
        'entered-in-error'), ('completed', 'entered-in-error'), ('unknown', 'in-progress'), ('unknown', 'not-done'),
        ('unknown', 'stopped'), ('unknown', 'completed'), ('unknown', 'entered-in-error'))),
    constraint ck_procedure_error_reason check (error_reason is null or state = 'entered-in-error'),
    constraint ck_procedure_period check (ended_at is null or ended_at >= effective_at),
    constraint fk_procedure_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id),
""",
    ),
    (
        "immunization",
        "immunization",
        """\
    state text not null,
    lot_number text,
    expires_on date,
    dose_quantity numeric,
    dose_unit text,
    site text,
    practitioner_id uuid,
    constraint ck_immunization_state check (state in ('completed', 'not-done', 'entered-in-error')),
    constraint ck_immunization_state_step check (state_before is null or (state_before, state) in (('completed',
        'entered-in-error'), ('not-done', 'entered-in-error'))),
    constraint ck_immunization_error_reason check (error_reason is null or state = 'entered-in-error'),
    constraint ck_immunization_dose_unit check (dose_quantity is null or dose_unit is not null),
    constraint fk_immunization_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id),
""",
    ),
)

def statements(table: str, resource: str, own: str) -> str:
    """Everything of a new table: columns, keys, walls, grants, statistics."""
    names = [line.split()[0] for line in own.splitlines() if line.startswith("    ")]
    columns = [n for n in names if n.isidentifier() and n != "constraint"]
    read, write = (WITHIN.format(setting=f"app.{k}_{resource}", table=table) for k in ("scope", "write"))
    free = ", ".join((*columns, *CHANGEABLE))
    return ENTRY.format(table=table, own=own.rstrip("\n"), read=read, write=write, free=free)


def upgrade() -> None:
    """Each table with its keys, walls, grants and statistics."""
    bind = op.get_bind().execution_options(no_parameters=True)
    for entry in ENTRIES:
        bind.exec_driver_sql(statements(*entry))


def downgrade() -> None:
    """Drop what this revision made."""
    for table, *_ in reversed(ENTRIES):
        op.execute(f"drop table {table}")
