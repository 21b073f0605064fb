"""How many people directories may shut out in a day: said by each health system.

Expand only: code of the revision before runs on, by the defaults that it has for all.

Revision: 0047
"""

from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

NAMES = "departures_few, departures_most, departures_percent"
COLUMNS = f"""\
alter table tenant add column departures_few integer default 10 not null,
    add column departures_most integer default 200 not null, add column departures_percent integer default 10 not null;
alter table tenant add constraint ck_tenant_departures check (departures_few between 1 and departures_most
    and departures_few <= 100 and departures_most <= 2000 and departures_percent between 1 and 50);
grant update ({NAMES}) on tenant to caretree_app;
"""


def upgrade() -> None:
    """The three limits, as they were for everybody."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(COLUMNS)


def downgrade() -> None:
    """The same limits for everybody again."""
    op.execute(f"revoke update ({NAMES}) on tenant from caretree_app")
    op.execute(
        "alter table tenant drop column departures_few, drop column departures_most, drop column departures_percent"
    )
