"""What the sync page of directories shows: requests, held departures and releases; warnings of tokens; outside request ids.

Revision: 0034
"""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

TABLES = """\
alter table audit_event add column outside_request_id text;
alter table scim_token add column warned_days smallint;
grant update (warned_days) on scim_token to caretree_app;

create table scim_request (
    tenant_id uuid not null,
    id uuid not null,
    token_id uuid not null,
    method text not null,
    asked text not null,
    resource_id uuid,
    subject text,
    status smallint not null,
    cause text,
    milliseconds integer not null,
    outside_request_id text,
    created_at timestamp with time zone default now() not null,
    constraint pk_scim_request primary key (tenant_id, id),
    constraint ck_scim_request_asked check (asked in ('user', 'group', 'bulk', 'other')),
    constraint fk_scim_request_scim_token foreign key(tenant_id, token_id) references scim_token (tenant_id, id)
);
create index ix_scim_request_tenant_created on scim_request (tenant_id, created_at, id);
create index ix_scim_request_failed on scim_request (tenant_id, created_at, id) where status >= 400;
create index ix_scim_request_resource on scim_request (tenant_id, resource_id, created_at, id);

create table scim_departure (
    tenant_id uuid not null,
    id uuid not null,
    asked_at timestamp with time zone not null,
    refused_at timestamp with time zone,
    constraint pk_scim_departure primary key (tenant_id, id),
    constraint fk_scim_departure_person foreign key(tenant_id, id) references person (tenant_id, id)
);
create index ix_scim_departure_asked on scim_departure (tenant_id, asked_at);

create table scim_release (
    tenant_id uuid not null,
    id uuid not null,
    until timestamp with time zone not null,
    released_by uuid,
    created_at timestamp with time zone default now() not null,
    constraint pk_scim_release primary key (tenant_id, id),
    constraint fk_scim_release_tenant foreign key(tenant_id) references tenant (tenant_id),
    constraint fk_scim_release_person foreign key(tenant_id, released_by) references person (tenant_id, id)
);
create index ix_scim_release_until on scim_release (tenant_id, until);
"""
CHANGED = {"scim_request": None, "scim_departure": "asked_at, refused_at", "scim_release": None}
"""Table -> what commands change of it; None where a row is written once."""
REMOVED = ("scim_request", "scim_departure")


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
    """Take them back."""
    op.execute("drop table scim_release, scim_departure, scim_request")
    op.execute("revoke update (warned_days) on scim_token from caretree_app")
    op.execute("alter table scim_token drop column warned_days")
    op.execute("alter table audit_event drop column outside_request_id")
