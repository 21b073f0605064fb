"""Busy times are looked up for each resource by itself, whatever the plan.

Revision: 0020
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

HEAD = """\
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
"""

UP = (
    HEAD
    + """\
    select b.resource_id, b.lane, b.block
    from wanted
    -- `offset 0` keeps the resource a condition of the index. As a plain join, a generic plan, which expects one row of
    -- everything, read the times of the whole health system once for each resource.
    cross join lateral (
        select t.resource_id, t.lane, t.block, t.state, t.appointment_id
        from public.appointment_block t
        where t.tenant_id = busy_times.tenant and t.resource_id = wanted.resource_id
            and t.block && busy_times.during
            and t.state in ('pending', 'booked', 'arrived', 'checked-in', 'fulfilled')
        offset 0) b
    where b.state <> 'pending' or not exists (
        select from public.appointment p
        where p.tenant_id = busy_times.tenant and p.id = b.appointment_id and p.expires_at <= busy_times.moment)
$$
"""
)

DOWN = (
    HEAD
    + """\
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
)


def upgrade() -> None:
    """The same rows, read another way. Old code runs on."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """The function as it was."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
