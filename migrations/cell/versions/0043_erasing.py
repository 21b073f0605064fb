"""The platform deletes rows of a health system that is suspended, or gone but for them; nobody else deletes any.

Each table that a later revision makes needs the same two statements (`ERASE`): a test erases a row of every table.

Revision: 0043
"""

from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

ROLE = "caretree_platform"
FUNCTION = """\
-- Whether nobody works in the health system of this transaction any more. Reads through the wall of `tenant`.
create function app_closed() returns boolean language sql stable parallel safe
as $$ select not exists (select from public.tenant where tenant_id = public.app_tenant() and state <> 'suspended') $$;
"""
ERASE = """\
create policy {table}_erase on {table} for delete to caretree_platform
    using ((tenant_id = (select app_tenant())) and (select app_closed()));
grant delete on {table} to caretree_platform;
"""
# Tables that the application deletes from have a policy that lets the platform, its member, through as well.
TABLES = """\
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition and c.relrowsecurity
    and not exists (select from pg_policy p where p.polrelid = c.oid and p.polcmd = 'd')
order by c.relname
"""


def upgrade() -> None:
    """One policy for each table that has none for deleting."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(FUNCTION)
    for table in bind.exec_driver_sql(TABLES).scalars().all():
        bind.exec_driver_sql(ERASE.format(table=table))


def downgrade() -> None:
    """Take them back."""
    bind = op.get_bind().execution_options(no_parameters=True)
    query = "select polrelid::regclass::text from pg_policy where polname like '%\\_erase'"
    for table in bind.exec_driver_sql(query).scalars().all():
        bind.exec_driver_sql(
            f"drop policy {table}_erase on {table}; revoke delete on {table} from {ROLE}"
        )
    bind.exec_driver_sql("drop function app_closed()")
