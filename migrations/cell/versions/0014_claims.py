"""Who pays beside the patient, what they are asked, what is applied to which line, prices of a node, closed days.

Postings say what they cancel out: a reversal is the exact opposite of one posting at the same account, the parts of a
transfer are each other's, by foreign keys over `opposite_minor`. A claim's queue is that of its latest step, and a
step continues the one before: the table of moves is a check, so an illegal one is refused here too. What was billed
does not change: of an invoice only its state, of a claim only where it stands and what was answered.

Revision: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = """\
create table payer (
    tenant_id uuid not null,
    id uuid not null,
    name text not null,
    name_key text collate "C" not null,
    identifier_system text,
    identifier text,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_payer primary key (tenant_id, id),
    constraint ck_payer_identifier check ((identifier is null) = (identifier_system is null)),
    constraint fk_payer_tenant foreign key(tenant_id) references tenant (tenant_id),
    constraint uq_payer_identifier unique (tenant_id, identifier_system, identifier)
);
create index ix_payer_name on payer (tenant_id, name_key, id);

create table coverage (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    payer_id uuid not null,
    priority smallint not null,
    member_id text not null,
    group_number text,
    relationship text default 'self' not null,
    state text default 'active' not null,
    starts_on date,
    ends_on date,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_coverage primary key (tenant_id, id),
    constraint fk_coverage_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_coverage_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_coverage_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_coverage_relationship check (relationship in ('self', 'spouse', 'child', 'parent', 'common', 'other', 'injured')),
    constraint ck_coverage_state check (state in ('active', 'cancelled', 'draft', 'entered-in-error')),
    constraint ck_coverage_priority check (priority between 1 and 9),
    constraint ck_coverage_period check (ends_on >= starts_on),
    constraint fk_coverage_payer foreign key(tenant_id, payer_id) references payer (tenant_id, id),
    constraint uq_coverage_account unique (tenant_id, id, clinic_id, patient_id),
    constraint ex_coverage_priority exclude using gist (tenant_id with =, clinic_id with =, patient_id with =, priority with =, daterange(starts_on, ends_on, '[]') with &&) where (state = 'active' and starts_on is not null)
);
create index ix_coverage_patient on coverage (tenant_id, patient_id, priority, id);

create table claim (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    encounter_id uuid not null,
    coverage_id uuid,
    priority smallint default '1' not null,
    kind text default 'professional' not null,
    state text default 'draft' not null,
    queue text not null,
    step integer default '0' not null,
    total_minor bigint not null,
    paid_minor bigint,
    adjusted_minor bigint,
    patient_minor bigint,
    payer_reference text,
    filed_at timestamp with time zone,
    adjudicated_at timestamp with time zone,
    recorded_at timestamp with time zone not null,
    recorded_by uuid,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_claim primary key (tenant_id, id),
    constraint fk_claim_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_claim_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_claim_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_claim_kind check (kind in ('institutional', 'oral', 'pharmacy', 'professional', 'vision')),
    constraint ck_claim_state check (state in ('active', 'cancelled', 'draft', 'entered-in-error')),
    constraint ck_claim_queue check (queue in ('needs-coding', 'queued', 'filed', 'rejected', 'adjudicated', 'patient-balance', 'zero-balance')),
    constraint ck_claim_state_of_queue check (case state when 'draft' then queue = 'needs-coding' when 'active' then queue <> 'needs-coding' when 'cancelled' then queue in ('needs-coding', 'queued', 'rejected') else true end),
    constraint ck_claim_priority check (priority between 1 and 9),
    constraint ck_claim_total check (total_minor >= 0),
    constraint ck_claim_answer check (num_nulls(paid_minor, adjusted_minor, patient_minor) in (0, 3) and paid_minor >= 0 and patient_minor >= 0 and paid_minor + adjusted_minor + patient_minor = total_minor),
    constraint fk_claim_encounter foreign key(tenant_id, encounter_id) references encounter (tenant_id, id),
    constraint fk_claim_coverage foreign key(tenant_id, coverage_id, clinic_id, patient_id) references coverage (tenant_id, id, clinic_id, patient_id),
    constraint uq_claim_place unique (tenant_id, id, clinic_id, unit_id, patient_id)
);
create index ix_claim_clinic_recorded_at on claim (tenant_id, clinic_id, recorded_at, id);
create index ix_claim_encounter on claim (tenant_id, encounter_id, id);
create index ix_claim_patient on claim (tenant_id, patient_id, recorded_at, id);
create index ix_claim_queue on claim (tenant_id, clinic_id, queue, recorded_at, id);
create index ix_claim_tenant_recorded_at on claim (tenant_id, recorded_at, id);
create unique index uq_claim_of_encounter on claim (tenant_id, encounter_id, priority) where state in ('draft', 'active') and kind <> 'pharmacy';

create table claim_item (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    claim_id uuid not null,
    charge_item_id uuid not null,
    sequence smallint not null,
    units numeric(9, 3) default '1' not null,
    total_minor bigint not null,
    paid_minor bigint,
    adjusted_minor bigint,
    patient_minor bigint,
    constraint pk_claim_item primary key (tenant_id, id),
    constraint fk_claim_item_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_claim_item_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_claim_item_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_claim_item_sequence check (sequence >= 1),
    constraint ck_claim_item_total check (total_minor >= 0),
    constraint ck_claim_item_answer check (num_nulls(paid_minor, adjusted_minor, patient_minor) in (0, 3) and paid_minor >= 0 and patient_minor >= 0 and paid_minor + adjusted_minor + patient_minor = total_minor),
    constraint fk_claim_item_claim foreign key(tenant_id, claim_id, clinic_id, unit_id, patient_id) references claim (tenant_id, id, clinic_id, unit_id, patient_id),
    constraint fk_claim_item_charge_item foreign key(tenant_id, charge_item_id) references charge_item (tenant_id, id),
    constraint uq_claim_item_sequence unique (tenant_id, claim_id, sequence),
    constraint uq_claim_item_charge unique (tenant_id, claim_id, charge_item_id)
);
create index ix_claim_item_charge on claim_item (tenant_id, charge_item_id, claim_id);

create table claim_step (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    claim_id uuid not null,
    step integer not null,
    step_before integer generated always as (step - 1) stored not null,
    from_queue text,
    queue text not null,
    reason text,
    moved_at timestamp with time zone not null,
    moved_by uuid,
    constraint pk_claim_step primary key (tenant_id, id),
    constraint fk_claim_step_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_claim_step_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_claim_step_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_claim_step_queue check (queue in ('needs-coding', 'queued', 'filed', 'rejected', 'adjudicated', 'patient-balance', 'zero-balance')),
    constraint ck_claim_step_move check (step = 0 or (from_queue, queue) in (('needs-coding', 'queued'), ('queued', 'needs-coding'), ('queued', 'filed'), ('filed', 'rejected'), ('filed', 'adjudicated'), ('rejected', 'needs-coding'), ('rejected', 'queued'), ('adjudicated', 'patient-balance'), ('adjudicated', 'zero-balance'), ('patient-balance', 'zero-balance'), ('zero-balance', 'patient-balance'))),
    constraint ck_claim_step_first check (step >= 0 and (step = 0) = (from_queue is null)),
    constraint fk_claim_step_claim foreign key(tenant_id, claim_id, clinic_id, unit_id, patient_id) references claim (tenant_id, id, clinic_id, unit_id, patient_id),
    constraint uq_claim_step_queue unique (tenant_id, claim_id, step, queue),
    constraint uq_claim_step_step unique (tenant_id, claim_id, step),
    constraint fk_claim_step_before foreign key(tenant_id, claim_id, step_before, from_queue) references claim_step (tenant_id, claim_id, step, queue)
);

create table allocation (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    posting_id uuid not null,
    posting_minor bigint not null,
    invoice_line_id uuid not null,
    line_minor bigint not null,
    amount_minor bigint not null,
    allocated_at timestamp with time zone not null,
    recorded_by uuid,
    constraint pk_allocation primary key (tenant_id, id),
    constraint fk_allocation_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_allocation_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_allocation_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_allocation_posting check (amount_minor between 1 and posting_minor or amount_minor between posting_minor and -1),
    constraint ck_allocation_line check (abs(amount_minor) <= line_minor),
    constraint fk_allocation_posting foreign key(tenant_id, posting_id, clinic_id, unit_id, patient_id, posting_minor) references posting (tenant_id, id, clinic_id, unit_id, patient_id, amount_minor),
    constraint fk_allocation_invoice_line foreign key(tenant_id, invoice_line_id, clinic_id, patient_id, line_minor) references invoice_line (tenant_id, id, clinic_id, patient_id, amount_minor)
);
create index ix_allocation_account on allocation (tenant_id, clinic_id, patient_id, id);
create index ix_allocation_invoice_line on allocation (tenant_id, invoice_line_id, id);
create index ix_allocation_posting on allocation (tenant_id, posting_id, id);

create table daily_close (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    day date not null,
    charged_minor bigint not null,
    paid_minor bigint not null,
    adjusted_minor bigint not null,
    transferred_minor bigint not null,
    closed_at timestamp with time zone not null,
    closed_by uuid,
    constraint pk_daily_close primary key (tenant_id, id),
    constraint fk_daily_close_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint uq_daily_close_day unique (tenant_id, unit_id, day)
);
create index ix_daily_close_clinic_day on daily_close (tenant_id, clinic_id, day, id);
create index ix_daily_close_tenant_day on daily_close (tenant_id, day, id);
alter table claim add constraint fk_claim_step foreign key (tenant_id, id, step, queue) references claim_step (tenant_id, claim_id, step, queue) deferrable initially deferred;
"""

CHANGES = """\
alter table charge_master add column unit_id uuid;
alter table charge_master add constraint fk_charge_master_unit foreign key (tenant_id, unit_id) references org_unit (tenant_id, id);
alter table charge_master drop constraint ex_charge_master_period;
alter table charge_master add constraint ex_charge_master_period exclude using gist (tenant_id with =, code_system with =, code with =, coalesce(unit_id, '00000000-0000-0000-0000-000000000000'::uuid) with =, daterange(effective_from, effective_until) with &&);

alter table charge_item add column diagnosis_ids uuid[] default '{}' not null;
alter table charge_item add constraint ck_charge_item_diagnoses check (cardinality(diagnosis_ids) <= 4);
grant update (diagnosis_ids) on charge_item to caretree_app;

alter table invoice_line add constraint uq_invoice_line_charge unique (tenant_id, charge_item_id);
alter table invoice_line add constraint uq_invoice_line_account unique (tenant_id, id, clinic_id, patient_id, amount_minor);
revoke update (number, issued_at, total_minor) on invoice from caretree_app;

alter table posting add column opposite_minor bigint generated always as (- amount_minor) stored not null;
alter table posting add column claim_id uuid;
alter table posting add column counterpart_id uuid;
alter table posting drop constraint fk_posting_reverses;
alter table posting add constraint ck_posting_group_code check (group_code in ('CO', 'OA', 'PI', 'PR'));
alter table posting add constraint ck_posting_adjustment check (kind <> 'adjustment' or (group_code is not null and reason_code is not null));
alter table posting add constraint ck_posting_transfer check (kind <> 'transfer' or counterpart_id is not null);
alter table posting add constraint ck_posting_counterpart check (counterpart_id is null or kind in ('transfer', 'reversal'));
alter table posting add constraint uq_posting_exact unique (tenant_id, id, clinic_id, unit_id, patient_id, amount_minor);
alter table posting add constraint uq_posting_amount unique (tenant_id, id, patient_id, amount_minor);
alter table posting add constraint uq_posting_counterpart unique (tenant_id, counterpart_id);
alter table posting add constraint fk_posting_reverses foreign key (tenant_id, reverses_id, clinic_id, unit_id, patient_id, opposite_minor) references posting (tenant_id, id, clinic_id, unit_id, patient_id, amount_minor);
alter table posting add constraint fk_posting_counterpart foreign key (tenant_id, counterpart_id, patient_id, opposite_minor) references posting (tenant_id, id, patient_id, amount_minor) deferrable initially deferred;
"""
OF_CLAIMS = """\
alter table posting add constraint fk_posting_claim foreign key (tenant_id, claim_id) references claim (tenant_id, id);
create index ix_posting_claim on posting (tenant_id, claim_id);
"""

FUNCTION = """\
-- What is open of each line of issued invoices at an account, in minor units: the line less what is applied to it.
-- No row outside the write scope. Who applies a payment at a department may not see what the clinic has applied.
create function open_lines(tenant uuid, clinic uuid, patient uuid)
returns table (line_id uuid, invoice_id uuid, line_minor bigint, open_minor bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select l.id, l.invoice_id, l.amount_minor, (l.amount_minor - coalesce((
        select sum(a.amount_minor) from public.allocation a
        where a.tenant_id = open_lines.tenant and a.invoice_line_id = l.id), 0))::bigint
    from public.invoice i
    join public.invoice_line l on l.tenant_id = open_lines.tenant and l.invoice_id = i.id
    where i.tenant_id = open_lines.tenant and i.tenant_id = public.app_tenant()
        and i.clinic_id = open_lines.clinic and i.patient_id = open_lines.patient
        and i.state in ('issued', 'balanced')
        and (public.app_all('app.write_posting') or exists (
            select from public.org_unit u
            where u.tenant_id = open_lines.tenant and u.clinic_id = open_lines.clinic
                and (u.clinic_id = any (public.app_units('app.write_posting'))
                    or u.id = any (public.app_units('app.write_posting')))))
    order by i.issued_at, i.id, l.id
$$;
revoke execute on function open_lines(uuid, uuid, uuid) from public;
grant execute on function open_lines(uuid, uuid, uuid) to caretree_app;
"""

# For a server that refuses BYPASSRLS to the owner of the function; invoice and org_unit are open to it since 0008.
POLICIES = (
    "create policy invoice_line_balance on invoice_line for select to current_user"
    " using (tenant_id = app_tenant())",
    "create policy allocation_balance on allocation for select to current_user"
    " using (tenant_id = app_tenant())",
)

PLACED = {  # table: the name by which policies know its resource
    "coverage": "coverage",
    "claim": "claim",
    "claim_item": "claim",
    "claim_step": "claim",
    "allocation": "posting",
    "daily_close": "daily_close",
}
UPDATES = {  # what may be changed at all; the others are append-only
    "payer": "name, name_key, identifier_system, identifier, active, version, updated_at",
    "coverage": "payer_id, priority, member_id, group_number, relationship, state, starts_on, ends_on,"
    " version, updated_at",
    "claim": "state, queue, step, paid_minor, adjusted_minor, patient_minor, payer_reference, filed_at,"
    " adjudicated_at, version, updated_at",
    "claim_item": "paid_minor, adjusted_minor, patient_minor",
}


def within(kind: str, table: str) -> str:
    """The condition that the row's place lies in the scope. Each `(select …)` runs once a statement."""
    setting = f"app.{kind}_{PLACED[table]}"
    units = f"(select app_units('{setting}'))::uuid[]"
    return (
        f"tenant_id = app_tenant() and ((select app_all('{setting}'))"
        f" or {table}.clinic_id = any ({units}) or {table}.unit_id = any ({units}))"
    )


def wall(table: str) -> list[str]:
    """Row-level security and grants of a table."""
    placed = table in PLACED
    read = within("scope", table) if placed else "tenant_id = app_tenant()"
    write = within("write", table) if placed else "tenant_id = app_tenant()"
    out = [
        f"alter table {table} enable row level security",
        f"alter table {table} force row level security",
        f"create policy {table}_read on {table} for select to caretree_app using ({read})",
        f"create policy {table}_insert on {table} for insert to caretree_app with check ({write})",
        f"grant select, insert on {table} to caretree_app",
    ]
    if table in UPDATES:
        out.append(
            f"create policy {table}_update on {table} for update to caretree_app"
            f" using ({write}) with check ({write})"
        )
        out.append(f"grant update ({UPDATES[table]}) on {table} to caretree_app")
    if placed:
        out.append(
            f"create statistics st_{table}_place (dependencies) on tenant_id, clinic_id, unit_id from {table}"
        )
    return out


def upgrade() -> None:
    """Frozen text, then the walls."""
    bind = op.get_bind().execution_options(no_parameters=True)
    for text in (CHANGES, TABLES, OF_CLAIMS, FUNCTION):
        bind.exec_driver_sql(text)
    for table in ("payer", *PLACED):
        for statement in wall(table):
            bind.exec_driver_sql(statement)
    for policy in POLICIES:
        bind.exec_driver_sql(policy)


def downgrade() -> None:
    """Drop what this revision made."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(BACK)


BACK = """\
drop policy invoice_line_balance on invoice_line;
drop function open_lines(uuid, uuid, uuid);
drop index ix_posting_claim;
alter table posting drop constraint fk_posting_claim;
alter table claim drop constraint fk_claim_step;
drop table daily_close, allocation, claim_step, claim_item, claim, coverage, payer;

alter table posting drop constraint fk_posting_counterpart;
alter table posting drop constraint fk_posting_reverses;
alter table posting drop constraint uq_posting_counterpart;
alter table posting drop constraint uq_posting_amount;
alter table posting drop constraint uq_posting_exact;
alter table posting drop constraint ck_posting_counterpart;
alter table posting drop constraint ck_posting_transfer;
alter table posting drop constraint ck_posting_adjustment;
alter table posting drop constraint ck_posting_group_code;
alter table posting drop column counterpart_id, drop column claim_id, drop column opposite_minor;
alter table posting add constraint fk_posting_reverses foreign key (tenant_id, reverses_id) references posting (tenant_id, id);

grant update (number, issued_at, total_minor) on invoice to caretree_app;
alter table invoice_line drop constraint uq_invoice_line_account;
alter table invoice_line drop constraint uq_invoice_line_charge;
alter table charge_item drop constraint ck_charge_item_diagnoses;
alter table charge_item drop column diagnosis_ids;
alter table charge_master drop constraint ex_charge_master_period;
alter table charge_master drop constraint fk_charge_master_unit;
delete from charge_master where unit_id is not null;
alter table charge_master drop column unit_id;
alter table charge_master add constraint ex_charge_master_period exclude using gist (tenant_id with =, code_system with =, code with =, daterange(effective_from, effective_until) with &&);
"""
