"""Prices, charges, invoices and the ledger.

Revision: 0004
"""

from alembic import op

revision = "0004"
down_revision = '0003'
branch_labels = None
depends_on = None

TABLES = """\
create table charge_master (
    tenant_id uuid not null,
    id uuid not null,
    code_system text not null,
    code text collate "C" not null,
    description text not null,
    description_key text collate "C" not null,
    price_minor bigint not null,
    effective_from date not null,
    effective_until date,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_charge_master primary key (tenant_id, id),
    constraint ck_charge_master_code_system check (code_system in ('CPT', 'HCPCS', 'INTERNAL')),
    constraint ck_charge_master_price check (price_minor >= 0),
    constraint fk_charge_master_tenant foreign key(tenant_id) references tenant (tenant_id),
    constraint ex_charge_master_period exclude using gist (tenant_id with =, code_system with =, code with =, daterange(effective_from, effective_until) with &&)
);
create index ix_charge_master_code on charge_master (tenant_id, code, id);

create table charge_item (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    encounter_id uuid,
    charge_master_id uuid,
    state text not null,
    code_system text not null,
    code text not null,
    description text not null,
    units numeric(9, 3) default '1' not null,
    modifiers text[] default '{}' not null,
    unit_price_minor bigint not null,
    amount_minor bigint not null,
    occurred_at timestamp with time zone not null,
    recorded_by uuid,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_charge_item primary key (tenant_id, id),
    constraint fk_charge_item_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_charge_item_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_charge_item_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_charge_item_state check (state in ('planned', 'billable', 'not-billable', 'aborted', 'billed', 'entered-in-error', 'unknown')),
    constraint ck_charge_item_units check (units > 0),
    constraint ck_charge_item_amount check (amount_minor = round(units * unit_price_minor)),
    constraint ck_charge_item_modifiers check (cardinality(modifiers) <= 4),
    constraint fk_charge_item_encounter foreign key(tenant_id, encounter_id) references encounter (tenant_id, id),
    constraint fk_charge_item_charge_master foreign key(tenant_id, charge_master_id) references charge_master (tenant_id, id)
);
create index ix_charge_item_clinic_occurred_at on charge_item (tenant_id, clinic_id, occurred_at, id);
create index ix_charge_item_encounter on charge_item (tenant_id, encounter_id);
create index ix_charge_item_patient on charge_item (tenant_id, patient_id, occurred_at, id);
create index ix_charge_item_tenant_occurred_at on charge_item (tenant_id, occurred_at, id);

create table invoice (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    number bigint,
    state text not null,
    issued_at timestamp with time zone,
    total_minor bigint not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_invoice primary key (tenant_id, id),
    constraint fk_invoice_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_invoice_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_invoice_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_invoice_state check (state in ('draft', 'issued', 'balanced', 'cancelled', 'entered-in-error')),
    constraint ck_invoice_numbered check ((number is null) = (issued_at is null)),
    constraint ck_invoice_draft check (state <> 'draft' or number is null),
    constraint ck_invoice_total check (total_minor >= 0),
    constraint uq_invoice_number unique (tenant_id, number),
    constraint uq_invoice_place unique (tenant_id, id, clinic_id, unit_id, patient_id)
);
create index ix_invoice_clinic_issued_at on invoice (tenant_id, clinic_id, issued_at, id);
create index ix_invoice_patient on invoice (tenant_id, patient_id, issued_at, id);
create index ix_invoice_tenant_issued_at on invoice (tenant_id, issued_at, id);

create table invoice_line (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    invoice_id uuid not null,
    charge_item_id uuid,
    code text not null,
    description text not null,
    units numeric(9, 3) not null,
    unit_price_minor bigint not null,
    amount_minor bigint not null,
    constraint pk_invoice_line primary key (tenant_id, id),
    constraint fk_invoice_line_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_invoice_line_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_invoice_line_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint fk_invoice_line_invoice foreign key(tenant_id, invoice_id, clinic_id, unit_id, patient_id) references invoice (tenant_id, id, clinic_id, unit_id, patient_id),
    constraint fk_invoice_line_charge_item foreign key(tenant_id, charge_item_id) references charge_item (tenant_id, id)
);
create index ix_invoice_line_invoice on invoice_line (tenant_id, invoice_id, id);

create table posting (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    kind text not null,
    amount_minor bigint not null,
    invoice_id uuid,
    method text,
    reference text,
    group_code text,
    reason_code text,
    reverses_id uuid,
    posted_at timestamp with time zone not null,
    recorded_by uuid,
    constraint pk_posting primary key (tenant_id, id),
    constraint fk_posting_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_posting_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_posting_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_posting_kind check (kind in ('payment', 'adjustment', 'transfer', 'reversal')),
    constraint ck_posting_amount check (amount_minor <> 0),
    constraint ck_posting_payment check (kind <> 'payment' or amount_minor > 0),
    constraint ck_posting_reversal check ((kind = 'reversal') = (reverses_id is not null)),
    constraint uq_posting_reverses unique (tenant_id, reverses_id),
    constraint fk_posting_reverses foreign key(tenant_id, reverses_id) references posting (tenant_id, id),
    constraint fk_posting_invoice foreign key(tenant_id, invoice_id) references invoice (tenant_id, id)
);
create index ix_posting_clinic_posted_at on posting (tenant_id, clinic_id, posted_at, id);
create index ix_posting_invoice on posting (tenant_id, invoice_id);
create index ix_posting_patient on posting (tenant_id, patient_id, posted_at, id);
create index ix_posting_tenant_posted_at on posting (tenant_id, posted_at, id);
"""


def upgrade() -> None:
    """Frozen text: what the models said on the day; later revisions change it from here."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(TABLES)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("drop table posting, invoice_line, invoice, charge_item, charge_master")
