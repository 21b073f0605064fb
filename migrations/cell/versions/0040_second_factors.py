"""Second factors: which kinds count and how long people have to set one up, what providers assert of one, and lost
devices, which two administrators reset.

Revision: 0040
"""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

MINE = "(tenant_id = (select app_tenant()))"
UP = f"""\
alter table tenant add column mfa_methods text[] default '{{totp,passkey,recovery}}' not null;
alter table tenant add column mfa_grace_days integer default '0' not null;
alter table tenant add column mfa_admins_since timestamp with time zone;
alter table tenant add column mfa_all_since timestamp with time zone;
alter table tenant add constraint ck_tenant_mfa_methods
    check (mfa_methods <@ array['totp', 'passkey', 'recovery'] and mfa_methods && array['totp', 'passkey']);
alter table tenant add constraint ck_tenant_mfa_grace check (mfa_grace_days between 0 and 90);

alter table person add column second_factor_at timestamp with time zone;
grant update (second_factor_at) on person to caretree_app;

alter table identity_provider add column mfa_contexts text[] default '{{}}' not null;
grant update (mfa_contexts) on identity_provider to caretree_app;
alter table sign_in add column contexts text[] default '{{}}' not null;
alter table sign_in add column proven_at timestamp with time zone;

create table device_reset (
    tenant_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    reason text not null,
    state text default 'pending' not null,
    requested_by uuid not null,
    lapses_at timestamp with time zone not null,
    decided_by uuid,
    decided_at timestamp with time zone,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_device_reset primary key (tenant_id, id),
    constraint ck_device_reset_state check (state in ('pending', 'approved', 'declined')),
    constraint ck_device_reset_decided check ((state = 'pending') = (decided_by is null) and (decided_by is null) = (decided_at is null)),
    constraint ck_device_reset_not_for_oneself check (requested_by <> person_id),
    constraint ck_device_reset_two_people check (state <> 'approved' or decided_by not in (requested_by, person_id)),
    constraint fk_device_reset_person foreign key(tenant_id, person_id) references person (tenant_id, id),
    constraint fk_device_reset_requested_by foreign key(tenant_id, requested_by) references person (tenant_id, id),
    constraint fk_device_reset_decided_by foreign key(tenant_id, decided_by) references person (tenant_id, id)
);
create unique index uq_device_reset_pending on device_reset (tenant_id, person_id) where state = 'pending';
create index ix_device_reset_tenant_created on device_reset (tenant_id, created_at, id);
alter table device_reset enable row level security;
alter table device_reset force row level security;
create policy device_reset_read on device_reset for select to caretree_app using {MINE};
create policy device_reset_insert on device_reset for insert to caretree_app with check {MINE};
create policy device_reset_update on device_reset for update to caretree_app using {MINE} with check {MINE};
grant select, insert on device_reset to caretree_app;
grant update (state, decided_by, decided_at, version, updated_at) on device_reset to caretree_app;

-- Says who needs a second factor at the caller's health system, from a moment on; the new version, or null where there
-- is none. Since when the rule holds is kept by it alone, so that nobody is given more time by writing another date.
create function configure_mfa(tenant uuid, policy text, methods text[], grace integer, moment timestamptz) returns integer
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    update public.tenant t
    set mfa_admins_since = case
            when configure_mfa.policy = 'none' then null
            when t.mfa_policy = 'none' then configure_mfa.moment
            else t.mfa_admins_since end,
        mfa_all_since = case
            when configure_mfa.policy <> 'all' then null
            when t.mfa_policy <> 'all' then configure_mfa.moment
            else t.mfa_all_since end,
        mfa_policy = configure_mfa.policy, mfa_methods = configure_mfa.methods, mfa_grace_days = configure_mfa.grace,
        version = t.version + 1, updated_at = configure_mfa.moment
    where t.tenant_id = configure_mfa.tenant and t.tenant_id = public.app_tenant()
    returning t.version
$$;
revoke execute on function configure_mfa(uuid, text, text[], integer, timestamptz) from public;
grant execute on function configure_mfa(uuid, text, text[], integer, timestamptz) to caretree_app;
revoke update (mfa_policy) on tenant from caretree_platform;
"""

DOWN = """\
grant update (mfa_policy) on tenant to caretree_platform;
drop function configure_mfa(uuid, text, text[], integer, timestamptz);
drop table device_reset;
alter table sign_in drop column contexts, drop column proven_at;
alter table identity_provider drop column mfa_contexts;
alter table person drop column second_factor_at;
alter table tenant drop column mfa_methods, drop column mfa_grace_days,
    drop column mfa_admins_since, drop column mfa_all_since;
"""


def upgrade() -> None:
    """Columns, the table with its wall (docs/decisions/walls.md: TENANT), and the one way to change the policy."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Take them back: whoever had time to set up a second factor needs it at once, resets that wait are lost."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
