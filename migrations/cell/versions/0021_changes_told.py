"""What has changed is told to whoever listens, on a channel of the health system; a hold that ends is told too.

Expand only: code of the revision before runs on, and tells of the holds that it ends.

Revision: 0021
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# Only of the health system that the transaction is about: nobody is told anything of another one.
TELL = """\
create function tell(tenant uuid, subject text, clinic uuid, id uuid) returns boolean
language sql volatile set search_path = pg_catalog, pg_temp
as $$
    select pg_notify('caretree:' || tell.tenant, tell.subject || ' ' || tell.clinic || ' ' || tell.id)::text is not null
    where tell.tenant = public.app_tenant()
$$;
revoke execute on function tell(uuid, text, uuid, uuid) from public;
grant execute on function tell(uuid, text, uuid, uuid) to caretree_app;
"""

HEAD = """\
create or replace function release_expired(tenant uuid, resources uuid[], moment timestamptz) returns integer
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
"""

UP = (
    HEAD
    + """\
        returning a.tenant_id, a.clinic_id, a.id
    )
    select count(public.tell(r.tenant_id, 'appointment', r.clinic_id, r.id))::integer from released r
$$
"""
)

DOWN = (
    HEAD
    + """\
        returning 1
    )
    select count(*)::integer from released
$$
"""
)


def upgrade() -> None:
    """The function that tells, and the one that uses it."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TELL)
    bind.exec_driver_sql(UP)


def downgrade() -> None:
    """Nobody is told any more."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(DOWN)
    op.execute("drop function tell(uuid, text, uuid, uuid)")
