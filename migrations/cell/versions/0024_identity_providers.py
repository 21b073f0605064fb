"""Identity providers of a health system, links of people to them, their logins, and rules from what they say to roles.

Revision: 0024
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

ROLES = """('system_admin', 'system_viewer', 'privacy_officer', 'auditor', 'regional_director', 'clinic_admin', \
'provider', 'nurse', 'front_desk', 'biller')"""
TABLES = f"""\
alter table tenant add column jit_mode text default 'restricted' not null;
alter table tenant add constraint ck_tenant_jit_mode check (jit_mode in ('all', 'restricted', 'off'));
grant update (jit_mode) on tenant to caretree_app;

alter table person add column source text default 'local' not null;
alter table person add column source_ref text default '' not null;
grant update (source, source_ref) on person to caretree_app;

create table identity_provider (
    tenant_id uuid not null,
    id uuid not null,
    protocol text not null,
    vendor text not null,
    name text not null,
    state text default 'draft' not null,
    issuer text not null,
    endpoints jsonb not null,
    certificates text[] default '{{}}' not null,
    client_id text,
    client_secret_sealed bytea,
    attributes jsonb not null,
    creates boolean default 'true' not null,
    test_until timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_identity_provider primary key (tenant_id, id),
    constraint ck_identity_provider_protocol check (protocol in ('oidc', 'saml')),
    constraint ck_identity_provider_state check (state in ('draft', 'tested', 'active', 'suspended')),
    constraint ck_identity_provider_oidc_client check (protocol <> 'oidc' or (client_id is not null and cardinality(certificates) = 0)),
    constraint ck_identity_provider_rollover check (cardinality(certificates) <= 2),
    constraint fk_identity_provider_tenant foreign key(tenant_id) references tenant (tenant_id)
);
create index ix_identity_provider_name on identity_provider (tenant_id, name, id);

create table identity_link (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    identity_provider_id uuid not null,
    subject text not null,
    asserted jsonb default '{{}}' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_identity_link primary key (tenant_id, id),
    constraint uq_identity_link_tenant_id_identity_provider_id_subject unique (tenant_id, identity_provider_id, subject),
    constraint uq_identity_link_person_once unique (tenant_id, person_id, identity_provider_id),
    constraint fk_identity_link_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_identity_link_identity_provider foreign key(tenant_id, identity_provider_id) references identity_provider (tenant_id, id)
);

create table sign_in (
    tenant_id uuid not null,
    id uuid not null,
    identity_provider_id uuid not null,
    person_id uuid,
    subject text not null,
    sid text not null,
    authenticated_at timestamp with time zone not null,
    outcome text not null,
    cause text,
    created_at timestamp with time zone default now() not null,
    constraint pk_sign_in primary key (tenant_id, id),
    constraint ck_sign_in_outcome check (outcome in ('admitted', 'held', 'test')),
    constraint ck_sign_in_cause check ((outcome = 'held') = (cause is not null)),
    constraint ck_sign_in_admitted check (outcome <> 'admitted' or person_id is not null),
    constraint fk_sign_in_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_sign_in_identity_provider foreign key(tenant_id, identity_provider_id) references identity_provider (tenant_id, id)
);
create index ix_sign_in_session on sign_in (tenant_id, sid, authenticated_at);
create index ix_sign_in_person on sign_in (tenant_id, person_id, created_at, id);
create index ix_sign_in_tenant_created on sign_in (tenant_id, created_at, id);

create table role_mapping (
    tenant_id uuid not null,
    id uuid not null,
    source text not null,
    source_ref text default '' not null,
    attribute text not null,
    match text default 'exact' not null,
    value text not null,
    role text not null,
    unit_id uuid not null,
    valid_until timestamp with time zone,
    ended_at timestamp with time zone,
    created_by uuid not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_role_mapping primary key (tenant_id, id),
    constraint ck_role_mapping_role check (role in {ROLES}),
    constraint ck_role_mapping_match check (match in ('exact', 'pattern')),
    constraint ck_role_mapping_source check (source <> 'local'),
    constraint fk_role_mapping_org_unit foreign key(tenant_id, unit_id) references org_unit (tenant_id, id),
    constraint fk_role_mapping_created_by foreign key(tenant_id, created_by) references person (tenant_id, id)
);
create index ix_role_mapping_source on role_mapping (tenant_id, source, source_ref);
create index ix_role_mapping_tenant_created on role_mapping (tenant_id, created_at, id);

create table provider_test (
    tenant_id uuid not null,
    id uuid not null,
    identity_provider_id uuid not null,
    started_by uuid,
    until timestamp with time zone not null,
    finished_at timestamp with time zone,
    passed boolean,
    steps jsonb default '[]' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_provider_test primary key (tenant_id, id),
    constraint ck_provider_test_finished check ((finished_at is null) = (passed is null)),
    constraint fk_provider_test_identity_provider foreign key(tenant_id, identity_provider_id) references identity_provider (tenant_id, id),
    constraint fk_provider_test_started_by foreign key(tenant_id, started_by) references person (tenant_id, id)
);
create index ix_provider_test_provider on provider_test (tenant_id, identity_provider_id, created_at);

create table held_account (
    tenant_id uuid not null,
    id uuid not null,
    identity_provider_id uuid not null,
    subject text not null,
    asserted jsonb not null,
    reason text not null,
    person_id uuid,
    state text default 'open' not null,
    decided_by uuid,
    decided_at timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_held_account primary key (tenant_id, id),
    constraint ck_held_account_reason check (reason in ('NOT_KNOWN', 'NAME_TAKEN', 'DOMAIN_NOT_PROVEN', 'INCOMPLETE')),
    constraint ck_held_account_state check (state in ('open', 'linked', 'created', 'dismissed')),
    constraint ck_held_account_decided check ((state = 'open') = (decided_by is null) and (decided_by is null) = (decided_at is null)),
    constraint ck_held_account_whose check (state not in ('linked', 'created') or person_id is not null),
    constraint fk_held_account_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_held_account_decided_by foreign key(tenant_id, decided_by) references person (tenant_id, id),
    constraint fk_held_account_identity_provider foreign key(tenant_id, identity_provider_id) references identity_provider (tenant_id, id)
);
create unique index uq_held_account_open on held_account (tenant_id, identity_provider_id, subject) where state = 'open';
create index ix_held_account_tenant_created on held_account (tenant_id, created_at, id);

create table email_domain (
    tenant_id uuid not null,
    id uuid not null,
    domain text not null,
    identity_provider_id uuid not null,
    challenge text not null,
    state text default 'pending' not null,
    proven_at timestamp with time zone,
    checked_at timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_email_domain primary key (tenant_id, id),
    constraint ck_email_domain_state check (state in ('pending', 'proven', 'lost')),
    constraint ck_email_domain_proven check ((state = 'pending') = (proven_at is null)),
    constraint ck_email_domain_folded check (domain = lower(domain)),
    constraint uq_email_domain_tenant_id_domain unique (tenant_id, domain),
    constraint fk_email_domain_identity_provider foreign key(tenant_id, identity_provider_id) references identity_provider (tenant_id, id)
);
"""
CHANGED = {
    "identity_provider": "name, vendor, state, endpoints, certificates, client_id, client_secret_sealed, attributes, creates,"
    " test_until, version, updated_at",
    "identity_link": "asserted, version, updated_at",
    "sign_in": None,
    "role_mapping": "valid_until, ended_at, version, updated_at",
    "held_account": "asserted, reason, person_id, state, decided_by, decided_at, version, updated_at",
    "provider_test": "finished_at, passed, steps, version, updated_at",
    "email_domain": "identity_provider_id, state, proven_at, checked_at, version, updated_at",
}
"""Table -> what commands change of it; None where a row is written once."""


def upgrade() -> None:
    """The tables and their walls (docs/decisions/walls.md: TENANT). Old code runs on: it knows none of them."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    for table, columns in CHANGED.items():
        bind.exec_driver_sql(
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy {table}_read on {table} for select to caretree_app using (tenant_id = (select app_tenant()));"
            f"create policy {table}_insert on {table} for insert to caretree_app with check (tenant_id = (select app_tenant()));"
            f"grant select, insert on {table} to caretree_app"
        )
        if columns:
            bind.exec_driver_sql(
                f"create policy {table}_update on {table} for update to caretree_app"
                f" using (tenant_id = (select app_tenant())) with check (tenant_id = (select app_tenant()));"
                f"grant update ({columns}) on {table} to caretree_app"
            )


def downgrade() -> None:
    """Take them back; grants that came through them stay."""
    op.execute("drop table email_domain, held_account, provider_test, role_mapping, sign_in, identity_link, identity_provider")
    op.execute("revoke update (source, source_ref) on person from caretree_app")
    op.execute("alter table person drop column source, drop column source_ref")
    op.execute("revoke update (jit_mode) on tenant from caretree_app")
    op.execute("alter table tenant drop column jit_mode")
