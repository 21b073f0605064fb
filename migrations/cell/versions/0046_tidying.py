"""The platform may vacuum the tables that it erases from: what is gone would be walked over at each further row.

Each table that a later revision makes needs the grant too, beside what 0043 says; without it erasing is only slower.

Revision: 0046
"""

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

ROLE = "caretree_platform"
TABLES = """\
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition and c.relrowsecurity order by 1
"""


def upgrade() -> None:
    """MAINTAIN (PostgreSQL 17) on each table with a wall."""
    bind = op.get_bind().execution_options(no_parameters=True)
    for table in bind.exec_driver_sql(TABLES).scalars().all():
        bind.exec_driver_sql(f"grant maintain on {table} to {ROLE}")


def downgrade() -> None:
    """Take it back."""
    bind = op.get_bind().execution_options(no_parameters=True)
    for table in bind.exec_driver_sql(TABLES).scalars().all():
        bind.exec_driver_sql(f"revoke maintain on {table} from {ROLE}")
