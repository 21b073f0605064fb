"""Links by which a customer's IT sets a health system up, and the roles that come with them.

Expand only: code of the revision before runs on; it knows neither.

Revision: 0042
"""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

BEFORE = """'system_admin', 'system_viewer', 'privacy_officer', 'auditor', 'regional_director', 'clinic_admin', \
'provider', 'nurse', 'front_desk', 'biller'"""
NEW = "'setup_tree', 'setup_people', 'setup_identity'"
HELD = ("role_grant", "grant_request", "role_mapping")

TABLE = """\
create table setup_link (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    token_hash bytea not null,
    session_hash bytea,
    scopes text[] not null,
    first_passwords bytea,
    expires_at timestamp with time zone not null,
    redeemed_at timestamp with time zone,
    ended_at timestamp with time zone,
    made_by uuid not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_setup_link primary key (tenant_id, id),
    constraint ck_setup_link_hash check (octet_length(token_hash) = 32 and octet_length(session_hash) = 32),
    constraint ck_setup_link_redeemed check ((redeemed_at is null) = (session_hash is null)),
    constraint ck_setup_link_scopes check (scopes <@ array['tree', 'people', 'identity'] and cardinality(scopes) > 0),
    constraint uq_setup_link_tenant_id_token_hash unique (tenant_id, token_hash),
    constraint uq_setup_link_tenant_id_session_hash unique (tenant_id, session_hash),
    constraint fk_setup_link_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_setup_link_tenant foreign key(tenant_id) references tenant (tenant_id)
);
"""
MINE = "(tenant_id = (select app_tenant()))"
# The platform makes links; the application only takes them in, and ends them.
WALL = f"""\
alter table setup_link enable row level security;
alter table setup_link force row level security;
create policy setup_link_read on setup_link for select to caretree_app using {MINE};
create policy setup_link_update on setup_link for update to caretree_app using {MINE} with check {MINE};
create policy setup_link_insert on setup_link for insert to caretree_app with check {MINE};
grant select, update (session_hash, first_passwords, redeemed_at, ended_at) on setup_link to caretree_app;
grant insert on setup_link to caretree_platform;
"""


def _roles(table: str, names: str) -> str:
    return (
        f"alter table {table} drop constraint ck_{table}_role;"
        f"alter table {table} add constraint ck_{table}_role check (role in ({names}))"
    )


def upgrade() -> None:
    """The table, its wall, and three more roles."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLE + WALL)
    for table in HELD:
        bind.exec_driver_sql(_roles(table, f"{BEFORE}, {NEW}"))


def downgrade() -> None:
    """Take them back, with what was held by them."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql("drop table setup_link")
    for table in HELD:
        bind.exec_driver_sql(f"delete from {table} where role in ({NEW})")
        bind.exec_driver_sql(_roles(table, BEFORE))
