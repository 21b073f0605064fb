"""A role of the platform's own: it makes health systems, opens and closes them, and says what only it may say.

Revision: 0036
"""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

ROLE = "caretree_platform"
COLUMNS = "state, mfa_policy, second_approval, jit_mode, session_idle, session_max"

UP = f"""\
grant insert on tenant to {ROLE};
grant update ({COLUMNS}) on tenant to {ROLE};
revoke insert on tenant from caretree_app;
revoke update ({COLUMNS}) on tenant from caretree_app;
"""

DOWN = f"""\
grant insert on tenant to caretree_app;
grant update ({COLUMNS}) on tenant to caretree_app;
revoke insert, update on tenant from {ROLE};
"""


def upgrade() -> None:
    """Take from the application what no request of it does. Old code's command line needs the new role's URL."""
    asked = "select pg_has_role(rolname, 'caretree_app', 'usage') from pg_roles where rolname = %s"
    if not op.get_bind().exec_driver_sql(asked, (ROLE,)).scalar():
        raise RuntimeError(
            f"The database role {ROLE} does not exist on this server, or is no member of caretree_app."
            " Make it first (docs/operating.md, Database roles), then migrate again."
        )
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Give it back; the role stays."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
