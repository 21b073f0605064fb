"""Row-level security asks for the tenant once a statement, where it asked at every rescan of a table.

Behind a LATERAL join the planner keeps `app_tenant() = $1` as a filter of each rescan; inside `(select …)` it is read
once. Expand only: the policies mean what they meant.

Revision: 0023
"""

from alembic import op
from sqlalchemy import text

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

EACH = "tenant_id = app_tenant()"
ONCE = "tenant_id = ( SELECT app_tenant() AS app_tenant)"


def upgrade() -> None:
    _replace(EACH, ONCE)


def downgrade() -> None:
    _replace(ONCE, EACH)


def _replace(old: str, new: str) -> None:
    """The conditions as PostgreSQL prints them."""
    connection = op.get_bind()
    policies = connection.execute(
        text(
            "select format('alter policy %I on %I', policyname, tablename), qual, with_check"
            " from pg_policies where schemaname = 'public'"
            " and position(:old in concat(qual, with_check)) > 0"
        ),
        {"old": old},
    ).all()
    for statement, seen, written in policies:
        if seen is not None:
            statement += f" using ({seen.replace(old, new)})"
        if written is not None:
            statement += f" with check ({written.replace(old, new)})"
        connection.exec_driver_sql(statement)
