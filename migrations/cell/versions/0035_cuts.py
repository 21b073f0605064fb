"""One instant that cuts off a whole health system, how far a realm's events were read, and logout tokens seen.

Expand only: code of the revision before runs on; it cuts off a health system person by person.

Revision: 0035
"""

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

HERE = "tenant_id = (select app_tenant())"
UP = f"""\
alter table tenant add column tokens_valid_from timestamp with time zone;
grant update (tokens_valid_from) on tenant to caretree_app;
create table realm_cursor (
    tenant_id uuid not null,
    read_until timestamp with time zone not null,
    constraint pk_realm_cursor primary key (tenant_id),
    constraint fk_realm_cursor_tenant foreign key(tenant_id) references tenant (tenant_id)
);
create table logout_token (
    tenant_id uuid not null,
    jti text not null,
    until timestamp with time zone not null,
    constraint pk_logout_token primary key (tenant_id, jti),
    constraint fk_logout_token_tenant foreign key(tenant_id) references tenant (tenant_id)
);
alter table realm_cursor enable row level security;
alter table realm_cursor force row level security;
create policy realm_cursor_read on realm_cursor for select to caretree_app using ({HERE});
create policy realm_cursor_insert on realm_cursor for insert to caretree_app with check ({HERE});
create policy realm_cursor_update on realm_cursor for update to caretree_app using ({HERE}) with check ({HERE});
grant select, insert, update (read_until) on realm_cursor to caretree_app;
alter table logout_token enable row level security;
alter table logout_token force row level security;
create policy logout_token_read on logout_token for select to caretree_app using ({HERE});
create policy logout_token_insert on logout_token for insert to caretree_app with check ({HERE});
create policy logout_token_delete on logout_token for delete to caretree_app using ({HERE});
grant select, insert, delete on logout_token to caretree_app;
"""


def upgrade() -> None:
    """The column and the tables with their walls (docs/decisions/walls.md: TENANT)."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Tokens of before a cut of everybody live on until they expire, if nobody's own cut refuses them."""
    op.execute("drop table realm_cursor, logout_token")
    op.execute("alter table tenant drop column tokens_valid_from")
