"""Assignments of practitioners, rooms and devices to places have a period.

Revision: 0016
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UP = """\
alter table resource_assignment add column valid_from timestamp with time zone;
alter table resource_assignment add column valid_until timestamp with time zone;
alter table resource_assignment add constraint ck_resource_assignment_period check (valid_until >= valid_from);
grant update (valid_from, valid_until) on resource_assignment to caretree_app;
"""

DOWN = """\
alter table resource_assignment drop constraint ck_resource_assignment_period;
alter table resource_assignment drop column valid_from, drop column valid_until;
"""


def upgrade() -> None:
    """What was assigned before is so without end."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Periods are lost: what has ended would begin again, so it goes."""
    op.execute("delete from resource_assignment where valid_until <= now()")
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
