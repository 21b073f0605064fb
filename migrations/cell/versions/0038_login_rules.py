"""Administrators of a health system say how long its logins last, and whose first login makes a person.

Revision: 0038
"""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

COLUMNS = "session_idle, session_max, jit_mode"


def upgrade() -> None:
    """The application may write what its mutations set (`api/graph/login_rules.py`)."""
    op.execute(f"grant update ({COLUMNS}) on tenant to caretree_app")


def downgrade() -> None:
    """Only the platform may."""
    op.execute(f"revoke update ({COLUMNS}) on tenant from caretree_app")
