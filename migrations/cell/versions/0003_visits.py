"""Appointments with the time they block, encounters and what is written at them.

Revision: 0003
"""

from alembic import op

revision = "0003"
down_revision = '0002'
branch_labels = None
depends_on = None

TABLES = """\
create table appointment (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    practitioner_id uuid not null,
    state text not null,
    starts_at timestamp with time zone not null,
    ends_at timestamp with time zone not null,
    reason text,
    comment text,
    rescheduled_from_id uuid,
    booked_by uuid,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_appointment primary key (tenant_id, id),
    constraint fk_appointment_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_appointment_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_appointment_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_appointment_state check (state in ('proposed', 'pending', 'booked', 'arrived', 'checked-in', 'fulfilled', 'cancelled', 'noshow', 'entered-in-error', 'waitlist')),
    constraint ck_appointment_period check (ends_at > starts_at),
    constraint uq_appointment_state unique (tenant_id, id, state),
    constraint uq_appointment_rescheduled unique (tenant_id, rescheduled_from_id),
    constraint fk_appointment_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id),
    constraint fk_appointment_rescheduled_from foreign key(tenant_id, rescheduled_from_id) references appointment (tenant_id, id)
);
create index ix_appointment_clinic_starts_at on appointment (tenant_id, clinic_id, starts_at, id);
create index ix_appointment_patient on appointment (tenant_id, patient_id, starts_at, id);
create index ix_appointment_practitioner on appointment (tenant_id, practitioner_id, starts_at, id);
create index ix_appointment_tenant_starts_at on appointment (tenant_id, starts_at, id);

create table appointment_block (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    appointment_id uuid not null,
    resource_id uuid not null,
    state text not null,
    lane smallint default '0' not null,
    block tstzrange not null,
    constraint pk_appointment_block primary key (tenant_id, id),
    constraint fk_appointment_block_org_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_appointment_block_appointment foreign key(tenant_id, appointment_id, state) references appointment (tenant_id, id, state) on update cascade,
    constraint fk_appointment_block_bookable_resource foreign key(tenant_id, resource_id) references bookable_resource (tenant_id, id),
    constraint ex_appointment_block_slot exclude using gist (tenant_id with =, resource_id with =, lane with =, block with &&) where (state in ('pending', 'booked', 'arrived', 'checked-in', 'fulfilled'))
);
create index ix_appointment_block_appointment on appointment_block (tenant_id, appointment_id);

create table encounter (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    practitioner_id uuid,
    appointment_id uuid,
    state text not null,
    kind text default 'AMB' not null,
    reason text,
    started_at timestamp with time zone not null,
    ended_at timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_encounter primary key (tenant_id, id),
    constraint fk_encounter_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_encounter_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_encounter_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_encounter_state check (state in ('planned', 'arrived', 'triaged', 'in-progress', 'onleave', 'finished', 'cancelled', 'entered-in-error')),
    constraint ck_encounter_period check (ended_at is null or ended_at >= started_at),
    constraint fk_encounter_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id),
    constraint fk_encounter_appointment foreign key(tenant_id, appointment_id) references appointment (tenant_id, id),
    constraint uq_encounter_place unique (tenant_id, id, clinic_id, unit_id, patient_id, sensitivity)
);
create index ix_encounter_clinic_started_at on encounter (tenant_id, clinic_id, started_at, id);
create index ix_encounter_patient on encounter (tenant_id, patient_id, started_at, id);
create index ix_encounter_tenant_started_at on encounter (tenant_id, started_at, id);

create table note (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    encounter_id uuid not null,
    sensitivity smallint default '0' not null,
    author_id uuid not null,
    kind text not null,
    state text not null,
    body_sealed bytea not null,
    signed_at timestamp with time zone,
    amends_id uuid,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_note primary key (tenant_id, id),
    constraint ck_note_kind check (kind in ('nursing', 'progress')),
    constraint ck_note_state check (state in ('draft', 'signed', 'amended', 'entered-in-error')),
    constraint ck_note_signed check ((state = 'draft') = (signed_at is null)),
    constraint fk_note_encounter foreign key(tenant_id, encounter_id, clinic_id, unit_id, patient_id, sensitivity) references encounter (tenant_id, id, clinic_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_note_author foreign key(tenant_id, author_id) references person (tenant_id, id),
    constraint fk_note_amends foreign key(tenant_id, amends_id) references note (tenant_id, id)
);
create index ix_note_encounter on note (tenant_id, encounter_id, id);
create index ix_note_patient on note (tenant_id, patient_id, id);

create table observation (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    encounter_id uuid not null,
    sensitivity smallint default '0' not null,
    state text default 'final' not null,
    code_system text default 'http://loinc.org' not null,
    code text not null,
    display text,
    value_quantity numeric,
    value_text text,
    unit text,
    effective_at timestamp with time zone not null,
    recorded_by uuid,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_observation primary key (tenant_id, id),
    constraint ck_observation_state check (state in ('registered', 'preliminary', 'final', 'amended', 'corrected', 'cancelled', 'entered-in-error', 'unknown')),
    constraint ck_observation_one_value check (num_nonnulls(value_quantity, value_text) <= 1),
    constraint ck_observation_unit check (value_quantity is null or unit is not null),
    constraint fk_observation_encounter foreign key(tenant_id, encounter_id, clinic_id, unit_id, patient_id, sensitivity) references encounter (tenant_id, id, clinic_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_observation_recorded_by foreign key(tenant_id, recorded_by) references person (tenant_id, id)
);
create index ix_observation_encounter on observation (tenant_id, encounter_id, id);
create index ix_observation_patient on observation (tenant_id, patient_id, effective_at, id);

create table condition (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    encounter_id uuid not null,
    sensitivity smallint default '0' not null,
    clinical_status text default 'active' not null,
    verification_status text default 'confirmed' not null,
    code_system text not null,
    code text not null,
    display text,
    onset_on date,
    recorded_at timestamp with time zone not null,
    recorded_by uuid,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_condition primary key (tenant_id, id),
    constraint ck_condition_clinical_status check (clinical_status in ('active', 'recurrence', 'relapse', 'inactive', 'remission', 'resolved')),
    constraint ck_condition_verification_status check (verification_status in ('unconfirmed', 'provisional', 'differential', 'confirmed', 'refuted', 'entered-in-error')),
    constraint fk_condition_encounter foreign key(tenant_id, encounter_id, clinic_id, unit_id, patient_id, sensitivity) references encounter (tenant_id, id, clinic_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_condition_recorded_by foreign key(tenant_id, recorded_by) references person (tenant_id, id)
);
create index ix_condition_encounter on condition (tenant_id, encounter_id, id);
create index ix_condition_patient on condition (tenant_id, patient_id, id);
"""


def upgrade() -> None:
    """Frozen text: what the models said on the day; later revisions change it from here."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(TABLES)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("drop table condition, observation, note, encounter, appointment_block, appointment")
