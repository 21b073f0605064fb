"""What directories push over SCIM: tokens, users beside people, groups, memberships.

Revision: 0027
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

TABLES = """\
create table scim_token (
    tenant_id uuid not null,
    id uuid not null,
    token_hash bytea not null,
    name text not null,
    scopes text[] not null,
    expires_at timestamp with time zone not null,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    created_at timestamp with time zone default now() not null,
    constraint pk_scim_token primary key (tenant_id, id),
    constraint ck_scim_token_hash check (octet_length(token_hash) = 32),
    constraint ck_scim_token_scopes check (scopes <@ array['read', 'users', 'groups']),
    constraint uq_scim_token_tenant_id_token_hash unique (tenant_id, token_hash),
    constraint fk_scim_token_tenant foreign key(tenant_id) references tenant (tenant_id)
);

create table scim_user (
    tenant_id uuid not null,
    id uuid not null,
    user_name text not null,
    external_id text,
    employee_number text,
    npi text,
    active boolean not null,
    doc jsonb not null,
    deleted_at timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_scim_user primary key (tenant_id, id),
    constraint uq_scim_user_tenant_id_user_name unique (tenant_id, user_name),
    constraint uq_scim_user_tenant_id_npi unique (tenant_id, npi),
    constraint fk_scim_user_person foreign key(tenant_id, id) references person (tenant_id, id)
);
create index ix_scim_user_external_id on scim_user (tenant_id, external_id);
create index ix_scim_user_employee_number on scim_user (tenant_id, employee_number);

create table scim_email (
    tenant_id uuid not null,
    user_id uuid not null,
    address text not null,
    constraint pk_scim_email primary key (tenant_id, user_id, address),
    constraint fk_scim_email_scim_user foreign key(tenant_id, user_id) references scim_user (tenant_id, id)
);
create index ix_scim_email_address on scim_email (tenant_id, address);

create table scim_group (
    tenant_id uuid not null,
    id uuid not null,
    display_name text not null,
    display_key text not null,
    external_id text,
    doc jsonb not null,
    deleted_at timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_scim_group primary key (tenant_id, id),
    constraint fk_scim_group_tenant foreign key(tenant_id) references tenant (tenant_id)
);
create unique index uq_scim_group_display_key on scim_group (tenant_id, display_key) where deleted_at is null;
create index ix_scim_group_external_id on scim_group (tenant_id, external_id);

create table scim_membership (
    tenant_id uuid not null,
    group_id uuid not null,
    member_id uuid not null,
    user_id uuid,
    subgroup_id uuid,
    constraint pk_scim_membership primary key (tenant_id, group_id, member_id),
    constraint ck_scim_membership_one_member
        check (num_nonnulls(user_id, subgroup_id) = 1 and member_id = coalesce(user_id, subgroup_id)),
    constraint ck_scim_membership_not_in_itself check (group_id <> member_id),
    constraint fk_scim_membership_scim_group foreign key(tenant_id, group_id) references scim_group (tenant_id, id),
    constraint fk_scim_membership_scim_user foreign key(tenant_id, user_id) references scim_user (tenant_id, id),
    constraint fk_scim_membership_subgroup foreign key(tenant_id, subgroup_id) references scim_group (tenant_id, id)
);
create index ix_scim_membership_member on scim_membership (tenant_id, member_id);
"""
CHANGED = {
    "scim_token": "revoked_at, last_used_at",
    "scim_user": "user_name, external_id, employee_number, npi, active, doc, deleted_at, version, updated_at",
    "scim_email": None,
    "scim_group": "display_name, display_key, external_id, doc, deleted_at, version, updated_at",
    "scim_membership": None,
}
"""Table -> what commands change of it; None where a row is written once."""
REMOVED = ("scim_email", "scim_membership")


def upgrade() -> None:
    """The tables and their walls (docs/decisions/walls.md: TENANT). Old code runs on: it knows none of them."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    mine = "(tenant_id = (select app_tenant()))"
    for table, columns in CHANGED.items():
        bind.exec_driver_sql(
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy {table}_read on {table} for select to caretree_app using {mine};"
            f"create policy {table}_insert on {table} for insert to caretree_app with check {mine};"
            f"grant select, insert on {table} to caretree_app"
        )
        if columns:
            bind.exec_driver_sql(
                f"create policy {table}_update on {table} for update to caretree_app using {mine} with check {mine};"
                f"grant update ({columns}) on {table} to caretree_app"
            )
    for table in REMOVED:
        bind.exec_driver_sql(
            f"create policy {table}_delete on {table} for delete to caretree_app using {mine};"
            f"grant delete on {table} to caretree_app"
        )


def downgrade() -> None:
    """Take them back; people and their grants stay."""
    op.execute("drop table scim_membership, scim_group, scim_email, scim_user, scim_token")
