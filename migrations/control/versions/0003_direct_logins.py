"""Which domains' people log in at a provider that the API itself speaks with.

Expand only: code of the revision before runs on, and sends those people to the realm.

Revision: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The column; no such provider is there yet."""
    op.execute("alter table control.email_domain add column direct boolean default 'false' not null")


def downgrade() -> None:
    """All domains lead to the realm again."""
    op.execute("alter table control.email_domain drop column direct")
