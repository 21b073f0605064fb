"""Where the people of an e-mail domain log in.

Revision: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = """\
create table control.email_domain (
    domain text not null,
    tenant_id uuid not null,
    identity_provider_id uuid not null,
    constraint pk_email_domain primary key (domain),
    constraint fk_email_domain_tenant foreign key(tenant_id) references control.tenant (id)
);
grant select on control.email_domain to caretree_app;
grant select, insert, update, delete on control.email_domain to caretree_worker;
"""


def upgrade() -> None:
    """The list and who reads and keeps it."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Drop the list; the daily look at each domain fills it again."""
    op.execute("drop table control.email_domain")
