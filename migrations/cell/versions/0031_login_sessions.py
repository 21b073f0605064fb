"""The sessions with which people have come, to be shown to them and ended one by one.

Expand only: code of the revision before runs on, and notes none.

Revision: 0031
"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

TABLE = """\
create table login_session (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    sid text not null,
    client text not null,
    started_at timestamp with time zone not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_login_session primary key (tenant_id, id),
    constraint uq_login_session_tenant_id_sid unique (tenant_id, sid),
    constraint fk_login_session_person foreign key(tenant_id, person_id) references person (tenant_id, id)
);
create index ix_login_session_person on login_session (tenant_id, person_id, started_at, id);
alter table login_session enable row level security;
alter table login_session force row level security;
create policy login_session_read on login_session for select to caretree_app using (tenant_id = (select app_tenant()));
create policy login_session_insert on login_session for insert to caretree_app with check (tenant_id = (select app_tenant()));
create policy login_session_delete on login_session for delete to caretree_app using (tenant_id = (select app_tenant()));
grant select, insert, delete on login_session to caretree_app;
"""


def upgrade() -> None:
    """The table and its walls (docs/decisions/walls.md: TENANT)."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(TABLE)


def downgrade() -> None:
    """Nobody's sessions are known any more; those that were ended stay so."""
    op.execute("drop table login_session")
