"""Where a provider's description is published, when it was last read, and when what it signs with ends.

Revision: 0030
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

UP = """\
alter table identity_provider add column metadata_url text;
alter table identity_provider add column metadata_read_at timestamp with time zone;
alter table identity_provider add column metadata_problem text;
alter table identity_provider add column expires_at timestamp with time zone;
grant update (metadata_url, metadata_read_at, metadata_problem, expires_at) on identity_provider to caretree_app;
"""
DOWN = """\
alter table identity_provider drop column metadata_url, drop column metadata_read_at, drop column metadata_problem,
    drop column expires_at;
"""


def upgrade() -> None:
    """What was described before has no address, and no end until it is described anew."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Take them back: what is described stays as it was last read."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
