"""Health systems, their trees, their people and what can be booked.

Revision: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """\
create table tenant (
    tenant_id uuid not null,
    slug text not null,
    name text not null,
    state text default 'active' not null,
    currency text default 'USD' not null,
    currency_digits smallint default '2' not null,
    policy_variant text default 'admins_inherit' not null,
    viewer_clinical boolean default 'false' not null,
    mfa_policy text default 'none' not null,
    tree_version integer default '1' not null,
    settings jsonb default '{}' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_tenant primary key (tenant_id),
    constraint ck_tenant_state check (state in ('active', 'suspended')),
    constraint ck_tenant_policy_variant check (policy_variant in ('admins_inherit', 'admins_break_glass')),
    constraint ck_tenant_mfa_policy check (mfa_policy in ('none', 'admins', 'all')),
    constraint ck_tenant_currency check (currency ~ '^[A-Z]{3}$'),
    constraint ck_tenant_currency_digits check (currency_digits between 0 and 4)
);

create table org_unit (
    tenant_id uuid not null,
    id uuid not null,
    parent_id uuid,
    clinic_id uuid,
    level text not null,
    name text not null,
    zone text,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_org_unit primary key (tenant_id, id),
    constraint ck_org_unit_level check (level in ('system', 'region', 'clinic', 'department')),
    constraint ck_org_unit_clinic_of_level check (case level when 'clinic' then clinic_id = id when 'department' then clinic_id = parent_id else clinic_id is null end),
    constraint ck_org_unit_root_is_system check ((level = 'system') = (parent_id is null)),
    constraint ck_org_unit_clinic_has_zone check (level <> 'clinic' or zone is not null),
    constraint uq_org_unit_tenant_id_id_clinic_id unique (tenant_id, id, clinic_id),
    constraint fk_org_unit_tenant foreign key(tenant_id) references tenant (tenant_id),
    constraint fk_org_unit_parent foreign key(tenant_id, parent_id) references org_unit (tenant_id, id)
);
create index ix_org_unit_parent on org_unit (tenant_id, parent_id);
create unique index uq_org_unit_one_root on org_unit (tenant_id) where level = 'system';

create table person (
    tenant_id uuid not null,
    id uuid not null,
    subject text,
    user_name text not null,
    given_name text not null,
    family_name text not null,
    email text,
    active boolean default 'true' not null,
    tokens_valid_from timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_person primary key (tenant_id, id),
    constraint fk_person_tenant foreign key(tenant_id) references tenant (tenant_id),
    constraint uq_person_tenant_id_subject unique (tenant_id, subject),
    constraint uq_person_tenant_id_user_name unique (tenant_id, user_name)
);
create index ix_person_name on person (tenant_id, family_name, id);

create table role_grant (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    role text not null,
    unit_id uuid not null,
    valid_from timestamp with time zone default now() not null,
    valid_until timestamp with time zone,
    source text default 'local' not null,
    source_ref text default '' not null,
    granted_by uuid,
    reason text default '' not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_role_grant primary key (tenant_id, id),
    constraint fk_role_grant_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_role_grant_org_unit foreign key(tenant_id, unit_id) references org_unit (tenant_id, id),
    constraint fk_role_grant_granted_by foreign key(tenant_id, granted_by) references person (tenant_id, id),
    constraint ck_role_grant_period check (valid_until is null or valid_until >= valid_from),
    constraint ex_role_grant_period exclude using gist (tenant_id with =, person_id with =, role with =, unit_id with =, source with =, source_ref with =, tstzrange(valid_from, valid_until) with &&)
);
create index ix_role_grant_person on role_grant (tenant_id, person_id);
create index ix_role_grant_unit on role_grant (tenant_id, unit_id);

create table revoked_session (
    tenant_id uuid not null,
    sid text not null,
    until timestamp with time zone not null,
    constraint pk_revoked_session primary key (tenant_id, sid),
    constraint fk_revoked_session_tenant foreign key(tenant_id) references tenant (tenant_id)
);

create table practitioner (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid,
    given_name text not null,
    family_name text not null,
    specialty text,
    npi text,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_practitioner primary key (tenant_id, id),
    constraint fk_practitioner_tenant foreign key(tenant_id) references tenant (tenant_id),
    constraint fk_practitioner_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint uq_practitioner_tenant_id_person_id unique (tenant_id, person_id),
    constraint uq_practitioner_tenant_id_npi unique (tenant_id, npi)
);
create index ix_practitioner_name on practitioner (tenant_id, family_name, id);

create table bookable_resource (
    tenant_id uuid not null,
    id uuid not null,
    kind text not null,
    name text not null,
    practitioner_id uuid,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_bookable_resource primary key (tenant_id, id),
    constraint ck_bookable_resource_kind check (kind in ('practitioner', 'room', 'device')),
    constraint ck_bookable_resource_whose check ((kind = 'practitioner') = (practitioner_id is not null)),
    constraint ck_bookable_resource_same_id check (practitioner_id is null or practitioner_id = id),
    constraint fk_bookable_resource_practitioner foreign key(tenant_id, practitioner_id) references practitioner (tenant_id, id),
    constraint fk_bookable_resource_tenant foreign key(tenant_id) references tenant (tenant_id)
);

create table resource_assignment (
    tenant_id uuid not null,
    resource_id uuid not null,
    unit_id uuid not null,
    clinic_id uuid not null,
    constraint pk_resource_assignment primary key (tenant_id, resource_id, unit_id),
    constraint fk_resource_assignment_bookable_resource foreign key(tenant_id, resource_id) references bookable_resource (tenant_id, id),
    constraint fk_resource_assignment_org_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id)
);
create index ix_resource_assignment_clinic on resource_assignment (tenant_id, clinic_id, resource_id);
"""


def upgrade() -> None:
    """Frozen text: what the models said on the day; later revisions change it from here."""
    op.execute("create extension if not exists btree_gist")
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(TABLES)


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("drop table resource_assignment, bookable_resource, practitioner, revoked_session, role_grant, person, org_unit, tenant")
    op.execute("drop extension if exists btree_gist")
