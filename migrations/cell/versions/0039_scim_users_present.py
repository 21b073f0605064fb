"""Users that a directory sees, counted and paged by an index alone: a page of 50,000 read the whole table. Expand only.

Revision: 0039
"""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

INDEX = "create index concurrently ix_scim_user_present on scim_user (tenant_id, id) where deleted_at is null"


def upgrade() -> None:
    """Add the index, outside of a transaction."""
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute(INDEX)


def downgrade() -> None:
    """Take it away."""
    op.execute("drop index ix_scim_user_present")
