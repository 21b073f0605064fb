"""Opening hours: services, weekly rules, closures; holds that expire; and who is free when.

`open_windows` expands rules in the clinic's own time, `kept_blocks` says what a booking keeps of each resource (none
outside the rules). Both read as their caller. `busy_times`, `overbooked` and `release_expired` see more than their
caller: a practitioner's time at another clinic, and nothing else of it. Expand only: code of the revision before runs on.

Revision: 0013
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = """\
create table healthcare_service (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    name text not null,
    minutes smallint not null,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_healthcare_service primary key (tenant_id, id),
    constraint fk_healthcare_service_org_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint ck_healthcare_service_minutes check (minutes between 5 and 480)
);
create index ix_healthcare_service_clinic on healthcare_service (tenant_id, clinic_id, name, id);

create table schedule_rule (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    resource_id uuid,
    service_id uuid,
    weekdays text[] not null,
    opens time without time zone not null,
    closes time without time zone not null,
    minutes smallint not null,
    step smallint not null,
    buffer_before smallint default '0' not null,
    buffer_after smallint default '0' not null,
    valid_from date not null,
    valid_until date,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_schedule_rule primary key (tenant_id, id),
    constraint fk_schedule_rule_org_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_schedule_rule_bookable_resource foreign key(tenant_id, resource_id) references bookable_resource (tenant_id, id),
    constraint fk_schedule_rule_healthcare_service foreign key(tenant_id, service_id) references healthcare_service (tenant_id, id),
    constraint ck_schedule_rule_minutes check (minutes between 5 and 480),
    constraint ck_schedule_rule_step check (step between 5 and 480),
    constraint ck_schedule_rule_buffers check (buffer_before between 0 and 240 and buffer_after between 0 and 240),
    constraint ck_schedule_rule_weekdays check (cardinality(weekdays) > 0 and weekdays <@ array['mon','tue','wed','thu','fri','sat','sun']),
    constraint ck_schedule_rule_validity check (valid_until is null or valid_until >= valid_from)
);
create index ix_schedule_rule_clinic on schedule_rule (tenant_id, clinic_id, resource_id, id);

create table schedule_closure (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    resource_id uuid,
    first_on date not null,
    last_on date not null,
    from_time time without time zone,
    until_time time without time zone,
    reason text,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_schedule_closure primary key (tenant_id, id),
    constraint fk_schedule_closure_org_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_schedule_closure_bookable_resource foreign key(tenant_id, resource_id) references bookable_resource (tenant_id, id),
    constraint ck_schedule_closure_days check (last_on >= first_on),
    constraint ck_schedule_closure_times check (from_time is null or until_time is null or until_time > from_time)
);
create index ix_schedule_closure_clinic on schedule_closure (tenant_id, clinic_id, last_on, id);

alter table appointment add column service_id uuid, add column expires_at timestamp with time zone;
alter table appointment add constraint fk_appointment_healthcare_service
    foreign key (tenant_id, service_id) references healthcare_service (tenant_id, id) not valid;
alter table appointment validate constraint fk_appointment_healthcare_service;
grant update (service_id, expires_at) on appointment to caretree_app;
"""

INDEXES = (
    "create index concurrently ix_appointment_holds on appointment (tenant_id, expires_at, id) where state = 'pending'",
    "create index concurrently ix_appointment_block_lanes on appointment_block (tenant_id, resource_id, id) where lane > 0",
)

FUNCTIONS = """\
-- When the place is closed, or the resource away, from the first day's midnight to the last day's.
create function closed_times(tenant uuid, clinic uuid, unit uuid, resource uuid, first_on date, last_on date)
returns tstzmultirange
language sql stable
as $$
    select coalesce(range_agg(tstzrange(t.lower, greatest(t.lower, t.upper))), '{}'::tstzmultirange)
    from schedule_closure c
    join org_unit z on z.tenant_id = c.tenant_id and z.id = c.clinic_id
    cross join lateral generate_series(
        greatest(c.first_on, closed_times.first_on)::timestamp, least(c.last_on, closed_times.last_on)::timestamp,
        interval '1 day') day
    cross join lateral (select
        (day + coalesce(c.from_time, '00:00')::interval) at time zone z.zone as lower,
        (case when c.until_time is null then day + interval '1 day' else day + c.until_time::interval end)
            at time zone z.zone as upper) t
    where c.tenant_id = closed_times.tenant and c.clinic_id = closed_times.clinic and c.active
        and c.last_on >= closed_times.first_on and c.first_on <= closed_times.last_on
        and (c.resource_id = closed_times.resource
            or c.resource_id is null and c.unit_id in (closed_times.unit, closed_times.clinic))
$$;

-- Whether rules say when the resource may be booked: its own at the clinic, for practitioners else those of the place.
create function is_ruled(tenant uuid, clinic uuid, unit uuid, resource uuid) returns boolean
language sql stable
as $$
    select exists (
        select from schedule_rule s
        where s.tenant_id = is_ruled.tenant and s.clinic_id = is_ruled.clinic and s.active
            and s.resource_id = is_ruled.resource
    ) or exists (
        select from schedule_rule s
        join bookable_resource r on r.tenant_id = s.tenant_id and r.id = is_ruled.resource
        where s.tenant_id = is_ruled.tenant and s.clinic_id = is_ruled.clinic and s.active
            and s.resource_id is null and r.kind = 'practitioner'
            and (is_ruled.unit = is_ruled.clinic or s.unit_id in (is_ruled.unit, is_ruled.clinic))
    )
$$;

-- The windows of the days, closures taken out. A local time that the clocks skip or repeat is the later instant.
create function open_windows(tenant uuid, clinic uuid, unit uuid, resources uuid[], service uuid,
    first_on date, last_on date)
returns table (resource_id uuid, opens_at timestamptz, closes_at timestamptz, aligned_at timestamptz,
    minutes smallint, step smallint, buffer_before smallint, buffer_after smallint)
language sql stable
as $$
    with asked as materialized (
        select r.id, r.kind, exists (
                select from schedule_rule o
                where o.tenant_id = open_windows.tenant and o.clinic_id = open_windows.clinic
                    and o.resource_id = r.id and o.active) as own,
            closed_times(open_windows.tenant, open_windows.clinic, open_windows.unit, r.id,
                open_windows.first_on, open_windows.last_on + 1) as closed
        from bookable_resource r
        where r.tenant_id = open_windows.tenant and r.id = any (open_windows.resources)
    ), windows as materialized (
        select a.id, a.closed, s.minutes, s.step, s.buffer_before, s.buffer_after,
            (day + s.opens::interval) at time zone z.zone as opens_at,
            (day + s.closes::interval
                + case when s.closes <= s.opens then interval '1 day' else interval '0' end)
                at time zone z.zone as closes_at
        from asked a
        join schedule_rule s on s.tenant_id = open_windows.tenant and s.clinic_id = open_windows.clinic
            and s.active
            and (open_windows.unit = open_windows.clinic
                or s.unit_id in (open_windows.unit, open_windows.clinic))
            and (s.resource_id = a.id
                or s.resource_id is null and a.kind = 'practitioner' and not a.own)
            and (s.service_id is null or s.service_id = open_windows.service)
        join org_unit z on z.tenant_id = open_windows.tenant and z.id = open_windows.clinic
        cross join lateral generate_series(
            greatest(s.valid_from, open_windows.first_on)::timestamp,
            least(s.valid_until, open_windows.last_on)::timestamp, interval '1 day') day
        where (array['mon','tue','wed','thu','fri','sat','sun'])[extract(isodow from day)::integer]
            = any (s.weekdays)
    )
    select w.id, lower(o.open), upper(o.open), w.opens_at,
        w.minutes, w.step, w.buffer_before, w.buffer_after
    from windows w
    cross join lateral unnest(
        tstzmultirange(tstzrange(w.opens_at, greatest(w.opens_at, w.closes_at))) - w.closed) as o (open)
$$;

-- Those of the resources that a deliberately overbooked visit keeps then, wherever.
create function overbooked(tenant uuid, resources uuid[], during tstzrange) returns uuid[]
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(b.resource_id), '{}')
    from public.appointment_block b
    where b.tenant_id = overbooked.tenant and b.tenant_id = public.app_tenant() and b.lane > 0
        and b.resource_id = any (overbooked.resources) and b.block && overbooked.during
        and b.state in ('pending', 'booked', 'arrived', 'checked-in', 'fulfilled')
$$;

-- What a visit keeps of each resource, buffers included. No row at all for a service that the clinic does not offer,
-- and none for a resource that rules or a closure forbid then, or that an overbooked visit keeps: those lie in lanes of their own, which the exclusion constraint does not compare.
create function kept_blocks(tenant uuid, clinic uuid, unit uuid, practitioner uuid, resources uuid[], service uuid,
    starts_at timestamptz, ends_at timestamptz)
returns table (resource_id uuid, block tstzrange)
language plpgsql stable
as $$
#variable_conflict use_column
declare
    today date;
    doubled uuid[] := overbooked(kept_blocks.tenant, kept_blocks.resources,
        tstzrange(kept_blocks.starts_at, kept_blocks.ends_at));
begin
    if kept_blocks.service is not null and not exists (select from healthcare_service h
            where h.tenant_id = kept_blocks.tenant and h.id = kept_blocks.service
                and h.clinic_id = kept_blocks.clinic and h.active)
    then
        return;
    end if;
    if not exists (select from schedule_rule s
            where s.tenant_id = kept_blocks.tenant and s.clinic_id = kept_blocks.clinic)
        and not exists (select from schedule_closure c
            where c.tenant_id = kept_blocks.tenant and c.clinic_id = kept_blocks.clinic)
    then
        return query select r.id, tstzrange(kept_blocks.starts_at, kept_blocks.ends_at)
            from unnest(kept_blocks.resources) r (id) where r.id <> all (doubled);
        return;
    end if;
    today := (select (kept_blocks.starts_at at time zone z.zone)::date from org_unit z
        where z.tenant_id = kept_blocks.tenant and z.id = kept_blocks.clinic);
    return query
        (select distinct on (w.resource_id) w.resource_id, tstzrange(
            kept_blocks.starts_at - make_interval(mins => w.buffer_before),
            kept_blocks.ends_at + make_interval(mins => w.buffer_after))
        from open_windows(kept_blocks.tenant, kept_blocks.clinic, kept_blocks.unit, kept_blocks.resources,
            kept_blocks.service, today - 1, today) w
        where w.resource_id <> all (doubled)
            and w.opens_at <= kept_blocks.starts_at and kept_blocks.ends_at <= w.closes_at
            and (w.resource_id <> kept_blocks.practitioner
                or mod(extract(epoch from kept_blocks.starts_at - w.aligned_at), w.step * 60) = 0
                and mod(extract(epoch from kept_blocks.ends_at - kept_blocks.starts_at), w.minutes * 60) = 0)
        order by w.resource_id, w.buffer_before + w.buffer_after)
        union all
        select r.id, tstzrange(kept_blocks.starts_at, kept_blocks.ends_at)
        from unnest(kept_blocks.resources) r (id)
        where r.id <> all (doubled)
            and not is_ruled(kept_blocks.tenant, kept_blocks.clinic, kept_blocks.unit, r.id)
            and not closed_times(kept_blocks.tenant, kept_blocks.clinic, kept_blocks.unit, r.id, today - 1, today + 1)
                && tstzrange(kept_blocks.starts_at, kept_blocks.ends_at);
end
$$;

-- When resources that are booked at a unit of the caller's are taken, wherever: no patient, place or reason.
create function busy_times(tenant uuid, unit uuid, resources uuid[], during tstzrange, moment timestamptz)
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
$$;

-- Ends holds that have expired, all or those of the resources; answers how many. Within a command that books only.
create function release_expired(tenant uuid, resources uuid[], moment timestamptz) returns integer
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    with due as (
        select a.tenant_id, a.id
        from public.appointment a
        where a.tenant_id = release_expired.tenant and a.tenant_id = public.app_tenant()
            and a.state = 'pending' and a.expires_at <= least(release_expired.moment, clock_timestamp())
            and coalesce(current_setting('app.write_appointment', true), '') not in ('', '{}')
            and (release_expired.resources is null or exists (
                select from public.appointment_block b
                where b.tenant_id = release_expired.tenant and b.appointment_id = a.id
                    and b.resource_id = any (release_expired.resources)))
        order by a.id
        for update skip locked
    ), released as (
        update public.appointment a
        set state = 'cancelled', version = a.version + 1, updated_at = release_expired.moment
        from due
        where a.tenant_id = due.tenant_id and a.tenant_id = release_expired.tenant and a.id = due.id
        returning 1
    )
    select count(*)::integer from released
$$;
revoke execute on function busy_times(uuid, uuid, uuid[], tstzrange, timestamptz),
    overbooked(uuid, uuid[], tstzrange), release_expired(uuid, uuid[], timestamptz) from public;
grant execute on function busy_times(uuid, uuid, uuid[], tstzrange, timestamptz),
    overbooked(uuid, uuid[], tstzrange), release_expired(uuid, uuid[], timestamptz) to caretree_app;
"""

# For a server that refuses BYPASSRLS to the owner of the three functions; org_unit is open to it since 0008.
POLICIES = (
    "create policy appointment_block_busy on appointment_block for select to current_user"
    " using (tenant_id = app_tenant())",
    "create policy resource_assignment_busy on resource_assignment for select to current_user"
    " using (tenant_id = app_tenant())",
    "create policy appointment_expired on appointment for select to current_user using (tenant_id = app_tenant())",
    "create policy appointment_release on appointment for update to current_user"
    " using (tenant_id = app_tenant() and state = 'pending') with check (tenant_id = app_tenant() and state = 'cancelled')",
)

FREE = {
    "healthcare_service": "name, minutes, active",
    "schedule_rule": "service_id, weekdays, opens, closes, minutes, step, buffer_before, buffer_after, valid_from,"
    " valid_until, active",
    "schedule_closure": "first_on, last_on, from_time, until_time, reason, active",
}


def upgrade() -> None:
    """Tables with their walls and grants, columns, functions; last the indexes, outside of the transaction."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    for table, columns in FREE.items():
        for statement in (
            f"alter table {table} enable row level security",
            f"alter table {table} force row level security",
            f"create policy {table}_read on {table} for select to caretree_app using (tenant_id = app_tenant())",
            f"create policy {table}_insert on {table} for insert to caretree_app with check (tenant_id = app_tenant())",
            f"create policy {table}_update on {table} for update to caretree_app"
            " using (tenant_id = app_tenant()) with check (tenant_id = app_tenant())",
            f"grant select, insert on {table} to caretree_app",
            f"grant update ({columns}, version, updated_at) on {table} to caretree_app",
        ):
            bind.exec_driver_sql(statement)
    bind.exec_driver_sql(FUNCTIONS)
    for policy in POLICIES:
        op.execute(policy)
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        for index in INDEXES:
            op.execute(index)


def downgrade() -> None:
    """Take it all away; holds stay as pending appointments."""
    for policy in POLICIES:
        name, table = policy.split()[2], policy.split()[4]
        op.execute(f"drop policy {name} on {table}")
    for function in (
        "release_expired(uuid, uuid[], timestamptz)",
        "busy_times(uuid, uuid, uuid[], tstzrange, timestamptz)",
        "kept_blocks(uuid, uuid, uuid, uuid, uuid[], uuid, timestamptz, timestamptz)",
        "overbooked(uuid, uuid[], tstzrange)",
        "open_windows(uuid, uuid, uuid, uuid[], uuid, date, date)",
        "is_ruled(uuid, uuid, uuid, uuid)",
        "closed_times(uuid, uuid, uuid, uuid, date, date)",
    ):
        op.execute(f"drop function {function}")
    op.execute("drop index ix_appointment_holds, ix_appointment_block_lanes")
    op.execute("alter table appointment drop column service_id, drop column expires_at")
    op.execute("drop table schedule_closure, schedule_rule, healthcare_service")
