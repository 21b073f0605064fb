"""Patients and the sites where they are seen.

Revision: 0002
"""

from alembic import op

revision = "0002"
down_revision = '0001'
branch_labels = None
depends_on = None

TABLES = """\
create table patient (
    tenant_id uuid not null,
    id uuid not null,
    mrn_assigner text default '' not null,
    mrn text not null,
    family_name text not null,
    given_name text not null,
    family_key text collate "C" not null,
    given_key text collate "C" not null,
    preferred_name text,
    former_names jsonb,
    birth_date date,
    sex text default 'unknown' not null,
    gender_identity text,
    phone text,
    email text,
    language text,
    address_line text,
    city text,
    postal_code text,
    country text,
    deceased_on date,
    sensitivity smallint default '0' not null,
    active boolean default 'true' not null,
    national_id_sealed bytea,
    national_id_index bytea,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_patient primary key (tenant_id, id),
    constraint ck_patient_sex check (sex in ('male', 'female', 'other', 'unknown')),
    constraint ck_patient_sensitivity check (sensitivity >= 0),
    constraint fk_patient_tenant foreign key(tenant_id) references tenant (tenant_id),
    constraint uq_patient_mrn unique (tenant_id, mrn_assigner, mrn),
    constraint uq_patient_national_id unique (tenant_id, national_id_index),
    constraint uq_patient_sensitivity unique (tenant_id, id, sensitivity)
);
create index ix_patient_birth on patient (tenant_id, birth_date, id);
create index ix_patient_family on patient (tenant_id, family_key, id);
create index ix_patient_mrn on patient (tenant_id, mrn, id);

create table patient_site (
    tenant_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    clinic_id uuid not null,
    family_key text collate "C" not null,
    given_key text collate "C" not null,
    birth_date date,
    sensitivity smallint default '0' not null,
    active boolean default 'true' not null,
    constraint pk_patient_site primary key (tenant_id, unit_id, patient_id),
    constraint fk_patient_site_org_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_patient_site_patient foreign key(tenant_id, patient_id, sensitivity) references patient (tenant_id, id, sensitivity) on update cascade deferrable initially deferred,
    constraint uq_patient_site_sensitivity unique (tenant_id, unit_id, patient_id, sensitivity)
);
create index ix_patient_site_birth on patient_site (tenant_id, unit_id, birth_date, patient_id);
create index ix_patient_site_family on patient_site (tenant_id, unit_id, family_key, patient_id);
create index ix_patient_site_patient on patient_site (tenant_id, patient_id, unit_id);
"""


def upgrade() -> None:
    """Frozen text: what the models said on the day; later revisions change it from here."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(TABLES)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("drop table patient_site, patient")
