"""Operators of the platform, the realm in which they log in, and what they order.

Revision: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROLE = "caretree_platform"

UP = f"""\
create table control.operator_realm (
    id uuid not null,
    single boolean default 'true' not null,
    identity_cluster_id uuid not null,
    realm text not null,
    issuer text not null,
    constraint pk_operator_realm primary key (id),
    constraint uq_operator_realm_single unique (single),
    constraint ck_operator_realm_single check (single),
    constraint ck_operator_realm_realm_is_opaque check (realm ~ '^o[0-9a-z]{{12,}}$'),
    constraint fk_operator_realm_identity_cluster foreign key(identity_cluster_id)
        references control.identity_cluster (id)
);

create table control.operator (
    id uuid not null,
    user_name text not null,
    given_name text not null,
    family_name text not null,
    subject text,
    active boolean default 'true' not null,
    tokens_valid_from timestamp with time zone,
    created_at timestamp with time zone default now() not null,
    constraint pk_operator primary key (id),
    constraint uq_operator_user_name unique (user_name),
    constraint uq_operator_subject unique (subject)
);

create table control.lifecycle_order (
    id uuid not null,
    kind text not null,
    slug text not null,
    key text,
    input jsonb default '{{}}' not null,
    state text not null,
    requested_by uuid not null,
    decided_by uuid,
    decided_at timestamp with time zone,
    not_before timestamp with time zone,
    step text default '' not null,
    failure text,
    report jsonb default '{{}}' not null,
    sealed bytea,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_lifecycle_order primary key (id),
    constraint ck_lifecycle_order_kind
        check (kind in ('create', 'suspend', 'resume', 'upgrade', 'setup_link', 'setup_end')),
    constraint ck_lifecycle_order_state
        check (state in ('requested', 'approved', 'done', 'failed', 'declined')),
    constraint ck_lifecycle_order_two_people check (decided_by <> requested_by),
    constraint uq_lifecycle_order_key unique (requested_by, key),
    constraint fk_lifecycle_order_requested_by foreign key(requested_by) references control.operator (id),
    constraint fk_lifecycle_order_decided_by foreign key(decided_by) references control.operator (id)
);
create index ix_lifecycle_order_open on control.lifecycle_order (created_at)
    where state in ('requested', 'approved');
create index ix_lifecycle_order_slug on control.lifecycle_order (slug, created_at);

grant select, insert, update on control.operator_realm, control.operator, control.lifecycle_order to {ROLE};
"""


def upgrade() -> None:
    """Three tables of the platform's own role; no other reads them."""
    asked = "select 1 from pg_roles where rolname = %s"
    if not op.get_bind().exec_driver_sql(asked, (ROLE,)).scalar():
        raise RuntimeError(
            f"The database role {ROLE} does not exist on this server."
            " Make it first (docs/operating.md, Database roles), then migrate again."
        )
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("drop table control.lifecycle_order, control.operator, control.operator_realm")
