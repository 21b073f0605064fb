"""Grants with a version, and requests for those that a second person approves.

Revision: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

UP = """\
alter table tenant add column second_approval boolean default 'true' not null;
grant update (second_approval) on tenant to caretree_app;

alter table role_grant add column version integer default '1' not null;
alter table role_grant add column updated_at timestamp with time zone default now() not null;
grant update (version, updated_at) on role_grant to caretree_app;
create index ix_role_grant_tenant_created on role_grant (tenant_id, created_at, id);

create table grant_request (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    role text not null,
    unit_id uuid not null,
    valid_from timestamp with time zone,
    valid_until timestamp with time zone,
    reason text default '' not null,
    state text default 'pending' not null,
    requested_by uuid not null,
    lapses_at timestamp with time zone not null,
    decided_by uuid,
    decided_at timestamp with time zone,
    grant_id uuid,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_grant_request primary key (tenant_id, id),
    constraint ck_grant_request_state check (state in ('pending', 'approved', 'declined')),
    constraint ck_grant_request_period check (valid_until > valid_from),
    constraint ck_grant_request_decided check ((state = 'pending') = (decided_by is null) and (decided_by is null) = (decided_at is null)),
    constraint ck_grant_request_granted check ((state = 'approved') = (grant_id is not null)),
    constraint ck_grant_request_two_people check (state <> 'approved' or decided_by not in (requested_by, person_id)),
    constraint fk_grant_request_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_grant_request_org_unit foreign key(tenant_id, unit_id) references org_unit (tenant_id, id),
    constraint fk_grant_request_role_grant foreign key(tenant_id, grant_id) references role_grant (tenant_id, id),
    constraint fk_grant_request_requested_by foreign key(tenant_id, requested_by) references person (tenant_id, id),
    constraint fk_grant_request_decided_by foreign key(tenant_id, decided_by) references person (tenant_id, id)
);
create unique index uq_grant_request_pending on grant_request (tenant_id, person_id, role, unit_id) where state = 'pending';
create index ix_grant_request_tenant_created on grant_request (tenant_id, created_at, id);

alter table grant_request enable row level security;
alter table grant_request force row level security;
create policy grant_request_read on grant_request for select to caretree_app using (tenant_id = app_tenant());
create policy grant_request_insert on grant_request for insert to caretree_app with check (tenant_id = app_tenant());
create policy grant_request_update on grant_request for update to caretree_app
    using (tenant_id = app_tenant()) with check (tenant_id = app_tenant());
grant select, insert on grant_request to caretree_app;
grant update (person_id, role, valid_from, valid_until, reason, state, requested_by, lapses_at, decided_by, decided_at,
    grant_id, version, updated_at) on grant_request to caretree_app;
"""

DOWN = """\
drop table grant_request;
drop index ix_role_grant_tenant_created;
revoke update (version, updated_at) on role_grant from caretree_app;
alter table role_grant drop column version, drop column updated_at;
revoke update (second_approval) on tenant from caretree_app;
alter table tenant drop column second_approval;
"""


def upgrade() -> None:
    """The columns, the table and its wall (docs/decisions/walls.md: TENANT)."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Take them back; requests that wait are lost."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
