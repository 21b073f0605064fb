"""How long sessions last at a health system: without use, and at the most.

Expand only: code of the revision before runs on, by the defaults that it has for all.

Revision: 0032
"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

COLUMNS = """\
alter table tenant add column session_idle integer default 1800 not null, add column session_max integer default 36000 not null;
alter table tenant add constraint ck_tenant_session check (session_idle between 60 and session_max and session_max <= 86400);
grant update (session_idle, session_max) on tenant to caretree_app;
"""


def upgrade() -> None:
    """The two limits, as they were for everybody."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(COLUMNS)


def downgrade() -> None:
    """The same limits for everybody again."""
    op.execute("revoke update (session_idle, session_max) on tenant from caretree_app")
    op.execute("alter table tenant drop column session_idle, drop column session_max")
