"""The registry: identity clusters, health systems and the service accounts of their realms.

Revision: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLES = ("caretree_app", "caretree_worker")

TABLES = """\
create table control.identity_cluster (
    id uuid not null,
    name text not null,
    region text not null,
    url text not null,
    public_url text not null,
    realm_cap integer default '150' not null,
    constraint pk_identity_cluster primary key (id),
    constraint ck_identity_cluster_realm_cap check (realm_cap > 0),
    constraint uq_identity_cluster_name unique (name)
);

create table control.tenant (
    id uuid not null,
    slug text not null,
    cell text not null,
    region text not null,
    tier text default 'shared' not null,
    identity_cluster_id uuid not null,
    realm text not null,
    issuer text not null,
    state text default 'creating' not null,
    epoch integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_tenant primary key (id),
    constraint ck_tenant_state check (state in ('creating', 'active', 'suspended')),
    constraint ck_tenant_tier check (tier in ('shared', 'enhanced', 'dedicated')),
    constraint ck_tenant_realm_is_opaque check (realm ~ '^o[0-9a-z]{12,}$'),
    constraint ck_tenant_slug check (slug ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'),
    constraint uq_tenant_slug unique (slug),
    constraint fk_tenant_identity_cluster foreign key(identity_cluster_id) references control.identity_cluster (id),
    constraint uq_tenant_realm unique (realm),
    constraint uq_tenant_issuer unique (issuer)
);

create table control.service_account (
    tenant_id uuid not null,
    client_id text not null,
    secret_sealed bytea not null,
    constraint pk_service_account primary key (tenant_id, client_id),
    constraint fk_service_account_tenant foreign key(tenant_id) references control.tenant (id)
);
"""

# The application looks up issuers and slugs; secrets of service accounts are the worker's alone.
GRANTS = """\
grant usage on schema control to caretree_app, caretree_worker;
grant select on control.identity_cluster, control.tenant to caretree_app;
grant select, insert, update on control.identity_cluster, control.tenant, control.service_account
    to caretree_worker;
"""


def upgrade() -> None:
    """Frozen text: what the models said on the day; later revisions change it from here."""
    there = op.get_bind().exec_driver_sql("select rolname from pg_roles").scalars().all()
    missing = [r for r in ROLES if r not in there]
    if missing:
        raise RuntimeError(
            f"The database roles {', '.join(missing)} do not exist on this server."
            " Make them first (docs/operating.md, Database roles), then migrate again."
        )
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    bind.exec_driver_sql(GRANTS)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("drop table control.service_account, control.tenant, control.identity_cluster")
    op.execute("revoke usage on schema control from caretree_app, caretree_worker")
