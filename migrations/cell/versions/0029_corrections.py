"""A finding that was put right names the version that holds. Expand only: code of the revision before runs on.

Revision: 0029
"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

INDEX = (
    "create index concurrently ix_observation_replaced_by on observation (tenant_id, replaced_by_id, id)"
    " where replaced_by_id is not null"
)


def upgrade() -> None:
    """The column with its key and grant; last the index, outside of the transaction."""
    op.execute("alter table observation add column replaced_by_id uuid")
    op.execute(
        "alter table observation add constraint fk_observation_replaced_by"
        " foreign key (tenant_id, replaced_by_id) references observation (tenant_id, id) not valid"
    )
    op.execute("alter table observation validate constraint fk_observation_replaced_by")
    op.execute("grant update (replaced_by_id) on observation to caretree_app")
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute(INDEX)


def downgrade() -> None:
    """Take it away; versions that were put right stand beside those that hold."""
    op.execute("drop index ix_observation_replaced_by")
    op.execute("alter table observation drop column replaced_by_id")
