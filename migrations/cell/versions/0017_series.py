"""Recurring visits and the waiting list; `busy_times` decides once for each resource instead of once for each visit.

Expand only: code of the revision before runs on.

Revision: 0017
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLES = """\
create table appointment_series (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    practitioner_id uuid not null,
    frequency text not null,
    every smallint not null,
    visits smallint not null,
    minutes smallint not null,
    starts_at timestamp with time zone not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_appointment_series primary key (tenant_id, id),
    constraint fk_appointment_series_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_appointment_series_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_appointment_series_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_appointment_series_frequency check (frequency in ('daily', 'weekly', 'monthly')),
    constraint ck_appointment_series_visits check (visits between 2 and 52),
    constraint ck_appointment_series_every check (every between 1 and 12),
    constraint fk_appointment_series_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id)
);
create index ix_appointment_series_patient on appointment_series (tenant_id, patient_id, id);

create table waitlist_entry (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    practitioner_id uuid,
    service_id uuid,
    offered_id uuid,
    state text default 'waiting' not null,
    minutes smallint not null,
    priority smallint default '0' not null,
    earliest_on date not null,
    latest_on date not null,
    reason text,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_waitlist_entry primary key (tenant_id, id),
    constraint fk_waitlist_entry_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_waitlist_entry_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_waitlist_entry_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_waitlist_entry_state check (state in ('waiting', 'offered', 'booked', 'withdrawn')),
    constraint ck_waitlist_entry_days check (latest_on >= earliest_on),
    constraint ck_waitlist_entry_minutes check (minutes between 5 and 480),
    constraint ck_waitlist_entry_priority check (priority between 0 and 9),
    constraint ck_waitlist_entry_offered check (state not in ('offered', 'booked') or offered_id is not null),
    constraint fk_waitlist_entry_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id),
    constraint fk_waitlist_entry_healthcare_service foreign key(tenant_id, service_id) references healthcare_service (tenant_id, id),
    constraint fk_waitlist_entry_offered foreign key(tenant_id, offered_id) references appointment (tenant_id, id)
);
create index ix_waitlist_entry_clinic_created_at on waitlist_entry (tenant_id, clinic_id, created_at, id);
create index ix_waitlist_entry_tenant_created_at on waitlist_entry (tenant_id, created_at, id);

alter table appointment add column series_id uuid;
alter table appointment add constraint fk_appointment_series
    foreign key (tenant_id, series_id) references appointment_series (tenant_id, id) not valid;
alter table appointment validate constraint fk_appointment_series;
grant update (series_id) on appointment to caretree_app;
"""

INDEX = (
    "create index concurrently ix_appointment_series on appointment (tenant_id, series_id, starts_at, id)"
    " where series_id is not null"
)

FREE = {
    "appointment_series": "practitioner_id, frequency, every, visits, minutes, starts_at",
    "waitlist_entry": "practitioner_id, service_id, offered_id, state, minutes, priority, earliest_on, latest_on, reason",
}

BUSY = """\
create or replace function busy_times(tenant uuid, unit uuid, resources uuid[], during tstzrange, moment timestamptz)
returns table (resource_id uuid, lane smallint, block tstzrange)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    with wanted as materialized (
        select distinct a.resource_id
        from public.org_unit u
        join public.resource_assignment a on a.tenant_id = busy_times.tenant and a.clinic_id = u.clinic_id
            and a.resource_id = any (busy_times.resources)
        where u.tenant_id = busy_times.tenant and busy_times.tenant = public.app_tenant()
            and u.id = busy_times.unit
            and (public.app_all('app.scope_schedule')
                or u.clinic_id = any (public.app_units('app.scope_schedule'))
                or u.id = any (public.app_units('app.scope_schedule')))
    )
    select b.resource_id, b.lane, b.block
    from wanted
    join public.appointment_block b on b.tenant_id = busy_times.tenant and b.resource_id = wanted.resource_id
        and b.block && busy_times.during
        and b.state in ('pending', 'booked', 'arrived', 'checked-in', 'fulfilled')
    where b.state <> 'pending' or not exists (
        select from public.appointment p
        where p.tenant_id = busy_times.tenant and p.id = b.appointment_id and p.expires_at <= busy_times.moment)
$$
"""

BUSY_BEFORE = """\
create or replace function busy_times(tenant uuid, unit uuid, resources uuid[], during tstzrange, moment timestamptz)
returns table (resource_id uuid, lane smallint, block tstzrange)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select b.resource_id, b.lane, b.block
    from unnest(busy_times.resources) wanted (id)
    join public.appointment_block b on b.tenant_id = busy_times.tenant and b.resource_id = wanted.id
        and b.block && busy_times.during
        and b.state in ('pending', 'booked', 'arrived', 'checked-in', 'fulfilled')
    where busy_times.tenant = public.app_tenant()
        and exists (
            select from public.org_unit u
            join public.resource_assignment a on a.tenant_id = busy_times.tenant and a.clinic_id = u.clinic_id
                and a.resource_id = wanted.id
            where u.tenant_id = busy_times.tenant and u.id = busy_times.unit
                and (public.app_all('app.scope_schedule')
                    or u.clinic_id = any (public.app_units('app.scope_schedule'))
                    or u.id = any (public.app_units('app.scope_schedule'))))
        and not exists (
            select from public.appointment p
            where b.state = 'pending' and p.tenant_id = busy_times.tenant and p.id = b.appointment_id
                and p.expires_at <= busy_times.moment)
$$
"""


def within(setting: str, row: str) -> str:
    """The condition that the row's place lies in the setting. Each `(select …)` runs once a statement."""
    units = f"(select app_units('{setting}'))::uuid[]"
    return (
        f"((select app_all('{setting}'))"
        f" or {row}.clinic_id = any ({units}) or {row}.unit_id = any ({units}))"
    )


def upgrade() -> None:
    """Tables with their walls and grants; last the index, outside of the transaction."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    for table, columns in FREE.items():
        own = "tenant_id = app_tenant()"
        read, write = (f"{own} and {within(f'app.{k}_appointment', table)}" for k in ("scope", "write"))
        for statement in (
            f"alter table {table} enable row level security",
            f"alter table {table} force row level security",
            f"create policy {table}_read on {table} for select to caretree_app using ({read})",
            f"create policy {table}_insert on {table} for insert to caretree_app with check ({write})",
            f"create policy {table}_update on {table} for update to caretree_app using ({write}) with check ({write})",
            f"grant select, insert on {table} to caretree_app",
            f"grant update ({columns}, version, updated_at) on {table} to caretree_app",
            f"create statistics st_{table}_place (dependencies) on tenant_id, clinic_id, unit_id from {table}",
        ):
            bind.exec_driver_sql(statement)
    bind.exec_driver_sql(BUSY)
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute(INDEX)


def downgrade() -> None:
    """Take it away; visits of a series stay as they are."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(BUSY_BEFORE)
    op.execute("drop index ix_appointment_series")
    op.execute("alter table appointment drop column series_id")
    op.execute("drop table waitlist_entry, appointment_series")
