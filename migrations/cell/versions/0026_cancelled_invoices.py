"""Invoices are cancelled and billed anew, are balanced once settled; entries after a close count on the next open day.

`live` of an invoice is written on its lines by the foreign key, as sensitivity is: of one charge there is one live line.
A part of a posting that was applied to a line is released by its exact opposite, once. Who writes to an account need not
read all of it: three more functions answer for the commands (docs/decisions/narrow-doors.md).

Old code runs on: new columns have defaults, and what it writes counts as live.

Revision: 0026
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

CHANGES = """\
alter table invoice add column cancelled_at timestamp with time zone;
alter table invoice add column cancelled_by uuid;
alter table invoice add column cancel_reason text;
alter table invoice add column live boolean generated always as (state <> 'cancelled'::text and state <> 'entered-in-error'::text) stored not null;
-- No command cancelled any before: such rows count on no day, which is the same as on both of one.
update invoice set cancelled_at = coalesce(issued_at, updated_at), cancel_reason = 'not kept' where state = 'cancelled';
alter table invoice add constraint ck_invoice_cancelled check ((state = 'cancelled') = (cancelled_at is not null) and (cancelled_at is null) = (cancel_reason is null));
alter table invoice add constraint uq_invoice_live unique (tenant_id, id, clinic_id, unit_id, patient_id, live);
create index ix_invoice_cancelled on invoice (tenant_id, clinic_id, cancelled_at) where cancelled_at is not null;
grant update (cancelled_at, cancelled_by, cancel_reason) on invoice to caretree_app;

alter table invoice_line add column live boolean default true not null;
update invoice_line l set live = false from invoice i where i.tenant_id = l.tenant_id and i.id = l.invoice_id and not i.live;
alter table invoice_line drop constraint fk_invoice_line_invoice;
alter table invoice_line add constraint fk_invoice_line_invoice foreign key (tenant_id, invoice_id, clinic_id, unit_id, patient_id, live) references invoice (tenant_id, id, clinic_id, unit_id, patient_id, live) on update cascade;
alter table invoice drop constraint uq_invoice_place;
alter table invoice_line drop constraint uq_invoice_line_charge;
create unique index uq_invoice_line_charge on invoice_line (tenant_id, charge_item_id) where live;

alter table allocation add column opposite_minor bigint generated always as (- amount_minor) stored not null;
alter table allocation add column releases_id uuid;
alter table allocation drop constraint ck_allocation_posting;
alter table allocation add constraint ck_allocation_posting check (case when releases_id is null then amount_minor between 1 and posting_minor or amount_minor between posting_minor and -1 else amount_minor between - posting_minor and -1 end);
alter table allocation add constraint uq_allocation_exact unique (tenant_id, id, posting_id, invoice_line_id, amount_minor);
alter table allocation add constraint uq_allocation_releases unique (tenant_id, releases_id);
alter table allocation add constraint fk_allocation_releases foreign key (tenant_id, releases_id, posting_id, invoice_line_id, opposite_minor) references allocation (tenant_id, id, posting_id, invoice_line_id, amount_minor);

update invoice i set state = case when i.state = 'issued' then 'balanced' else 'issued' end, version = i.version + 1
where i.state in ('issued', 'balanced') and (i.state = 'balanced') <> (i.total_minor = coalesce((
    select sum(a.amount_minor) from invoice_line l
    join allocation a on a.tenant_id = l.tenant_id and a.invoice_line_id = l.id
    where l.tenant_id = i.tenant_id and l.invoice_id = i.id), 0));

create table claim_receipt (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    claim_id uuid not null,
    remittance_id uuid not null,
    sequence integer not null,
    amount_minor bigint not null,
    reference text,
    paid_on date not null,
    received_at timestamp with time zone not null,
    constraint pk_claim_receipt primary key (tenant_id, id),
    constraint fk_claim_receipt_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_claim_receipt_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_claim_receipt_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_claim_receipt_amount check (amount_minor <> 0),
    constraint ck_claim_receipt_sequence check (sequence >= 1),
    constraint fk_claim_receipt_claim foreign key(tenant_id, claim_id, clinic_id, unit_id, patient_id) references claim (tenant_id, id, clinic_id, unit_id, patient_id),
    constraint uq_claim_receipt_sequence unique (tenant_id, remittance_id, sequence)
);
create index ix_claim_receipt_claim on claim_receipt (tenant_id, claim_id, id);
alter table claim_receipt enable row level security;
alter table claim_receipt force row level security;
grant select, insert on claim_receipt to caretree_app;
create statistics st_claim_receipt_place (dependencies) on tenant_id, clinic_id, unit_id from claim_receipt;
"""

FUNCTIONS = """\
-- Brings the invoices of an account up to what is applied to their lines: balanced while all is, else issued. Answers
-- how many changed. Nothing outside the write scope. Who applies a payment need not read or write bills.
create function settle_invoices(tenant uuid, clinic uuid, patient uuid) returns integer
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    with changed as (
        update public.invoice i
        set state = case when i.state = 'issued' then 'balanced' else 'issued' end,
            version = i.version + 1, updated_at = now()
        where i.tenant_id = settle_invoices.tenant and i.tenant_id = public.app_tenant()
            and i.clinic_id = settle_invoices.clinic and i.patient_id = settle_invoices.patient
            and i.state in ('issued', 'balanced')
            and (i.state = 'balanced') <> (i.total_minor = coalesce((
                select sum(a.amount_minor) from public.invoice_line l
                join public.allocation a on a.tenant_id = settle_invoices.tenant and a.invoice_line_id = l.id
                where l.tenant_id = settle_invoices.tenant and l.invoice_id = i.id), 0))
            and (public.app_all('app.write_posting') or exists (
                select from public.org_unit u
                where u.tenant_id = settle_invoices.tenant and u.clinic_id = settle_invoices.clinic
                    and (u.clinic_id = any (public.app_units('app.write_posting'))
                        or u.id = any (public.app_units('app.write_posting')))))
        returning 1
    )
    select count(*)::integer from changed
$$;

-- When an entry made at a moment counts at a clinic: then, or where the clinic's day is closed at the beginning of the
-- next one that is not. Who takes payments does not read closed days.
create function open_moment(tenant uuid, clinic uuid, moment timestamptz) returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    with here as (
        select coalesce(u.zone, 'UTC') as zone,
            (open_moment.moment at time zone coalesce(u.zone, 'UTC'))::date as day
        from public.org_unit u
        where u.tenant_id = open_moment.tenant and u.tenant_id = public.app_tenant() and u.id = open_moment.clinic
    ), next_open as (
        select min(c.day) + 1 as day from public.daily_close c, here
        where c.tenant_id = open_moment.tenant and c.unit_id = open_moment.clinic and c.day >= here.day
            and not exists (
                select from public.daily_close n
                where n.tenant_id = c.tenant_id and n.unit_id = c.unit_id and n.day = c.day + 1)
    )
    select case when exists (
            select from public.daily_close c
            where c.tenant_id = open_moment.tenant and c.unit_id = open_moment.clinic and c.day = here.day)
        then next_open.day::timestamp at time zone here.zone else open_moment.moment end
    from here, next_open
$$;

-- Strikes out the charges of a visit that is struck out, and answers which; null, and nothing is changed, where one of
-- them is billed or claimed, and outside the write scope. Who strikes out a visit need not read or write charges.
create function strike_charges(tenant uuid, encounter uuid) returns uuid[]
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    with visit as (
        select e.id from public.encounter e
        where e.tenant_id = strike_charges.tenant and e.tenant_id = public.app_tenant()
            and e.id = strike_charges.encounter
            and (public.app_all('app.write_encounter')
                or e.clinic_id = any (public.app_units('app.write_encounter'))
                or e.unit_id = any (public.app_units('app.write_encounter')))
            and not exists (
                select from public.charge_item c
                where c.tenant_id = e.tenant_id and c.encounter_id = e.id and c.state = 'billed')
            and not exists (
                select from public.claim k
                where k.tenant_id = e.tenant_id and k.encounter_id = e.id and k.state in ('draft', 'active'))
    ), struck as (
        update public.charge_item c
        set state = 'entered-in-error', version = c.version + 1, updated_at = now()
        from visit
        where c.tenant_id = strike_charges.tenant and c.encounter_id = visit.id and c.state <> 'entered-in-error'
        returning c.id
    )
    select case when exists (select from visit)
        then coalesce((select array_agg(struck.id) from struck), '{}') end
$$;
"""
SIGNATURES = (
    "settle_invoices(uuid, uuid, uuid)",
    "open_moment(uuid, uuid, timestamptz)",
    "strike_charges(uuid, uuid)",
)

# For a server that refuses BYPASSRLS to the owner of the functions; what else they read is open to it since 0008, 0014.
POLICIES = (
    "create policy invoice_settled on invoice for update to current_user"
    " using (tenant_id = (select app_tenant())) with check (tenant_id = (select app_tenant()))",
    "create policy daily_close_moment on daily_close for select to current_user"
    " using (tenant_id = (select app_tenant()))",
    "create policy encounter_struck on encounter for select to current_user"
    " using (tenant_id = (select app_tenant()))",
    "create policy claim_struck on claim for select to current_user"
    " using (tenant_id = (select app_tenant()))",
    "create policy charge_item_found on charge_item for select to current_user"
    " using (tenant_id = (select app_tenant()))",
    "create policy charge_item_struck on charge_item for update to current_user"
    " using (tenant_id = (select app_tenant())) with check (tenant_id = (select app_tenant()))",
)


def within(setting: str, table: str) -> str:
    """The condition that the row's place lies in the scope. Each `(select …)` runs once a statement."""
    units = f"(select app_units('{setting}'))::uuid[]"
    return (
        f"tenant_id = (select app_tenant()) and ((select app_all('{setting}'))"
        f" or {table}.clinic_id = any ({units}) or {table}.unit_id = any ({units}))"
    )


def upgrade() -> None:
    """Frozen text, then the walls. A cancelled invoice is not changed by the application any more."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(CHANGES)
    bind.exec_driver_sql(FUNCTIONS)
    read, write = within("app.scope_claim", "claim_receipt"), within("app.write_claim", "claim_receipt")
    bill = within("app.write_invoice", "invoice")
    statements = [
        f"create policy claim_receipt_read on claim_receipt for select to caretree_app using ({read})",
        f"create policy claim_receipt_insert on claim_receipt for insert to caretree_app with check ({write})",
        f"alter policy invoice_update on invoice using ({bill} and live) with check ({bill})",
        *(f"revoke execute on function {name} from public" for name in SIGNATURES),
        *(f"grant execute on function {name} to caretree_app" for name in SIGNATURES),
    ]
    for statement in (*statements, *POLICIES):
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    """Drop what this revision made; what was cancelled and billed anew keeps its latest line."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bill = within("app.write_invoice", "invoice")
    bind.exec_driver_sql(f"alter policy invoice_update on invoice using ({bill}) with check ({bill})")
    for policy in POLICIES:
        name, table = policy.split()[2], policy.split()[4]
        bind.exec_driver_sql(f"drop policy {name} on {table}")
    bind.exec_driver_sql(f"drop function {', '.join(SIGNATURES)}")
    bind.exec_driver_sql(BACK)


BACK = """\
drop table claim_receipt;

alter table allocation drop constraint fk_allocation_releases;
delete from allocation a using allocation r where r.tenant_id = a.tenant_id and a.id = r.releases_id;
delete from allocation where releases_id is not null;
alter table allocation drop constraint uq_allocation_releases;
alter table allocation drop constraint uq_allocation_exact;
alter table allocation drop constraint ck_allocation_posting;
alter table allocation drop column releases_id, drop column opposite_minor;
alter table allocation add constraint ck_allocation_posting check (amount_minor between 1 and posting_minor or amount_minor between posting_minor and -1);

drop index uq_invoice_line_charge;
update invoice_line set charge_item_id = null where not live;
alter table invoice_line add constraint uq_invoice_line_charge unique (tenant_id, charge_item_id);
alter table invoice add constraint uq_invoice_place unique (tenant_id, id, clinic_id, unit_id, patient_id);
alter table invoice_line drop constraint fk_invoice_line_invoice;
alter table invoice_line add constraint fk_invoice_line_invoice foreign key (tenant_id, invoice_id, clinic_id, unit_id, patient_id) references invoice (tenant_id, id, clinic_id, unit_id, patient_id);
alter table invoice_line drop column live;

drop index ix_invoice_cancelled;
alter table invoice drop constraint uq_invoice_live;
alter table invoice drop constraint ck_invoice_cancelled;
alter table invoice drop column live, drop column cancel_reason, drop column cancelled_by, drop column cancelled_at;
"""
