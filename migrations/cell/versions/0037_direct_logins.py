"""Providers that the API itself speaks with: keys, what waits for an answer, what was brought, sessions, warnings.

Expand only: code of the revision before runs on, and knows of no such provider.

Revision: 0037
"""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

TABLES = """\
alter table identity_provider add column direct boolean default 'false' not null;
alter table identity_provider add constraint ck_identity_provider_direct check (not direct or protocol = 'saml');

create table signing_key (
    tenant_id uuid not null,
    id uuid not null,
    purpose text not null,
    public text not null,
    private_sealed bytea not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_signing_key primary key (tenant_id, id),
    constraint ck_signing_key_purpose check (purpose in ('tokens', 'saml')),
    constraint fk_signing_key_tenant foreign key(tenant_id) references tenant (tenant_id)
);
create index ix_signing_key_purpose on signing_key (tenant_id, purpose, created_at);

create table saml_request (
    tenant_id uuid not null,
    id uuid not null,
    identity_provider_id uuid not null,
    client text not null,
    redirect_uri text not null,
    state text,
    challenge text,
    until timestamp with time zone not null,
    constraint pk_saml_request primary key (tenant_id, id),
    constraint fk_saml_request_identity_provider foreign key(tenant_id, identity_provider_id)
        references identity_provider (tenant_id, id)
);
create index ix_saml_request_until on saml_request (tenant_id, until);

create table saml_message (
    tenant_id uuid not null,
    identity_provider_id uuid not null,
    message_id text not null,
    until timestamp with time zone not null,
    constraint pk_saml_message primary key (tenant_id, identity_provider_id, message_id),
    constraint fk_saml_message_identity_provider foreign key(tenant_id, identity_provider_id)
        references identity_provider (tenant_id, id)
);
create index ix_saml_message_until on saml_message (tenant_id, until);

create table direct_session (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    identity_provider_id uuid not null,
    client text not null,
    redirect_uri text not null,
    challenge text not null,
    name_id text not null,
    name_format text,
    provider_session text,
    code_hash bytea,
    refresh_hash bytea,
    used_at timestamp with time zone not null,
    authenticated_at timestamp with time zone not null,
    ends_at timestamp with time zone not null,
    constraint pk_direct_session primary key (tenant_id, id),
    constraint fk_direct_session_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_direct_session_identity_provider foreign key(tenant_id, identity_provider_id)
        references identity_provider (tenant_id, id)
);
create index ix_direct_session_name on direct_session (tenant_id, identity_provider_id, name_id);
create index ix_direct_session_ends on direct_session (tenant_id, ends_at);

create table provider_warning (
    tenant_id uuid not null,
    identity_provider_id uuid not null,
    expires_at timestamp with time zone not null,
    days integer not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_provider_warning primary key (tenant_id, identity_provider_id, expires_at, days),
    constraint fk_provider_warning_identity_provider foreign key(tenant_id, identity_provider_id)
        references identity_provider (tenant_id, id)
);
create policy sign_in_delete on sign_in for delete to caretree_app using (tenant_id = (select app_tenant()));
grant delete on sign_in to caretree_app;
"""
NEW = ("signing_key", "saml_request", "saml_message", "direct_session", "provider_warning")
MINE = "(tenant_id = (select app_tenant()))"


def upgrade() -> None:
    """Columns and tables with their walls (docs/decisions/walls.md: TENANT); logins can be forgotten."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    for table in NEW:
        bind.exec_driver_sql(
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy {table}_read on {table} for select to caretree_app using {MINE};"
            f"create policy {table}_insert on {table} for insert to caretree_app with check {MINE};"
            f"create policy {table}_delete on {table} for delete to caretree_app using {MINE};"
            f"grant select, insert, delete on {table} to caretree_app"
        )
    bind.exec_driver_sql(
        f"create policy direct_session_update on direct_session for update to caretree_app using {MINE} with check {MINE};"
        "grant update (code_hash, refresh_hash, used_at) on direct_session to caretree_app"
    )


def downgrade() -> None:
    """Whoever came by such a provider logs in by another way; providers of that kind are closed."""
    op.execute("revoke delete on sign_in from caretree_app")
    op.execute("drop policy sign_in_delete on sign_in")
    op.execute("drop table provider_warning, direct_session, saml_message, saml_request, signing_key")
    op.execute("update identity_provider set state = 'suspended' where direct and state = 'active'")
    op.execute("alter table identity_provider drop column direct")
