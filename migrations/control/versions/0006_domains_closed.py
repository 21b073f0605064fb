"""Which domains' provider is closed: their people are sent nowhere, and the domain stays the health system's.

Expand only: code of the revision before runs on, and sends those people where they are not let in.

Revision: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The column; each day's look at the domains says which are."""
    op.execute("alter table control.email_domain add column closed boolean default 'false' not null")


def downgrade() -> None:
    """All domains lead to their providers again."""
    op.execute("alter table control.email_domain drop column closed")
