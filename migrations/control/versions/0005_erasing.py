"""Health systems that are erased or handed over: two more states, two more orders, also by whoever has the machine.

Expand only: code of the revision before runs on; it knows neither.

Revision: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROLE = "caretree_platform"
STATES = "'creating', 'active', 'suspended'"
KINDS = "'create', 'suspend', 'resume', 'upgrade', 'setup_link', 'setup_end'"


def _one_of(table: str, column: str, values: str) -> str:
    return (
        f"alter table control.{table} drop constraint ck_{table}_{column};"
        f"alter table control.{table} add constraint ck_{table}_{column} check ({column} in ({values}));"
    )


UP = f"""\
{_one_of("tenant", "state", f"{STATES}, 'erasing', 'erased'")}
{_one_of("lifecycle_order", "kind", f"{KINDS}, 'export', 'erase'")}
alter table control.lifecycle_order alter column requested_by drop not null;
grant delete on control.service_account to {ROLE};
"""

# An erased health system has nothing left to let in: to older code it is one that is suspended.
DOWN = f"""\
revoke delete on control.service_account from {ROLE};
delete from control.lifecycle_order where kind in ('export', 'erase') or requested_by is null;
update control.tenant set state = 'suspended' where state in ('erasing', 'erased');
alter table control.lifecycle_order alter column requested_by set not null;
{_one_of("lifecycle_order", "kind", KINDS)}
{_one_of("tenant", "state", STATES)}
"""


def upgrade() -> None:
    """Widen what is checked, and let the platform forget the secrets of a realm that is gone."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Narrow it again."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
