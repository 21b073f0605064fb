"""A booking asks less of the database: what is told is told within its statement, and a clinic without hours is seen sooner.

`tell` had a search path of its own, and so was a statement of its own each time. Its body is now bound to what it names
when it is made, and becomes a part of the statement that calls it. `kept_blocks` answers the same rows by fewer statements.

Expand only: code of the revision before runs on.

Revision: 0048
"""

from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

TELL_HEAD = "create or replace function tell(tenant uuid, subject text, clinic uuid, id uuid) returns boolean\n"

# Only of the health system that the transaction is about: nobody is told anything of another one.
TELL = (
    TELL_HEAD
    + """\
language sql volatile
return case when tell.tenant = public.app_tenant() then pg_catalog.pg_notify(
    'caretree:' || tell.tenant, tell.subject || ' ' || tell.clinic || ' ' || tell.id)::text is not null end
"""
)

TOLD_BEFORE = (
    TELL_HEAD
    + """\
language sql volatile set search_path = pg_catalog, pg_temp
as $$
    select pg_notify('caretree:' || tell.tenant, tell.subject || ' ' || tell.clinic || ' ' || tell.id)::text is not null
    where tell.tenant = public.app_tenant()
$$
"""
)

KEPT_HEAD = """\
create or replace function kept_blocks(tenant uuid, clinic uuid, unit uuid, practitioner uuid, resources uuid[], service uuid,
    starts_at timestamptz, ends_at timestamptz)
returns table (resource_id uuid, block tstzrange)
"""

KEPT_TAIL = """\
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
$$
"""

KEPT = (
    KEPT_HEAD
    + """\
language plpgsql stable rows 4
as $$
#variable_conflict use_column
declare
    today date;
    one uuid;
    doubled uuid[] := overbooked(kept_blocks.tenant, kept_blocks.resources,
        tstzrange(kept_blocks.starts_at, kept_blocks.ends_at));
begin
    -- Two tests: a condition that holds a sub-select is run as a statement, also where its first half decides.
    if kept_blocks.service is not null then
        if not exists (select from healthcare_service h
                where h.tenant_id = kept_blocks.tenant and h.id = kept_blocks.service
                    and h.clinic_id = kept_blocks.clinic and h.active)
        then
            return;
        end if;
    end if;
    if not exists (select from schedule_rule s
            where s.tenant_id = kept_blocks.tenant and s.clinic_id = kept_blocks.clinic)
        and not exists (select from schedule_closure c
            where c.tenant_id = kept_blocks.tenant and c.clinic_id = kept_blocks.clinic)
    then
        block := tstzrange(kept_blocks.starts_at, kept_blocks.ends_at);
        foreach one in array kept_blocks.resources loop
            if one <> all (doubled) then
                resource_id := one;
                return next;
            end if;
        end loop;
        return;
    end if;
"""
    + KEPT_TAIL
)

KEPT_BEFORE = (
    KEPT_HEAD
    + """\
language plpgsql stable rows 1000
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
"""
    + KEPT_TAIL
)


def upgrade() -> None:
    """The same answers by less work."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TELL)
    bind.exec_driver_sql(KEPT)


def downgrade() -> None:
    """The functions as they were."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TOLD_BEFORE)
    bind.exec_driver_sql(KEPT_BEFORE)
