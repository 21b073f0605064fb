"""The keys that a realm signs with, as they were when its events told that they had changed.

Expand only: code of the revision before runs on; it knows nothing of them.

Revision: 0045
"""

from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

UP = """\
alter table realm_cursor add column keys text,
    add column keys_at timestamp with time zone;
grant update (keys, keys_at) on realm_cursor to caretree_app;
"""


def upgrade() -> None:
    """Two columns, behind the walls of their table."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Processes learn of new keys by asking the realm alone."""
    op.execute("alter table realm_cursor drop column keys, drop column keys_at")
