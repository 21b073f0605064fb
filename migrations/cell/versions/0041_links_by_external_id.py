"""Links of people to providers, found by the directory's id that a provider signs: each new user asks. Expand only.

Revision: 0041
"""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

INDEX = """\
create index concurrently ix_identity_link_external_id on identity_link
    (tenant_id, identity_provider_id, (asserted -> 'externalId'))"""


def upgrade() -> None:
    """Add the index, outside of a transaction."""
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute(INDEX)


def downgrade() -> None:
    """Take it away."""
    op.execute("drop index ix_identity_link_external_id")
