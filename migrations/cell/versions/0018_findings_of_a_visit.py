"""The findings of a visit lie in the order in which they are shown: the latest of many are read without the others.

Revision: 0018
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """By visit and time, without holding anybody up."""
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute(
            "create index concurrently ix_observation_next"
            " on observation (tenant_id, encounter_id, effective_at, id)"
        )
        op.execute("drop index concurrently ix_observation_encounter")
        op.execute("alter index ix_observation_next rename to ix_observation_encounter")


def downgrade() -> None:
    """By visit alone; in one transaction with whatever else is taken back."""
    op.execute("drop index ix_observation_encounter")
    op.execute("create index ix_observation_encounter on observation (tenant_id, encounter_id, id)")
