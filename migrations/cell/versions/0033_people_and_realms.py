"""People as directories and realms have them: who shut them out, what Keycloak was told, whom a directory means.

Expand only: code of the revision before runs on; whom it shuts out counts as shut out by a directory until an
administrator says it again.

Revision: 0033
"""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

TABLES = """\
alter table person add column shut_out boolean default 'false' not null;
grant update (shut_out) on person to caretree_app;
update person p set shut_out = true
where not p.active and not exists (
    select 1 from scim_user s where s.tenant_id = p.tenant_id and s.id = p.id and not s.active);

alter table identity_provider add column of_directory boolean default 'false' not null;
grant update (of_directory) on identity_provider to caretree_app;

grant update (created_by) on role_mapping to caretree_app;

alter table held_account alter column identity_provider_id drop not null;
alter table held_account drop constraint ck_held_account_reason;
alter table held_account add constraint ck_held_account_reason check (reason in
    ('NOT_KNOWN', 'NAME_TAKEN', 'DOMAIN_NOT_PROVEN', 'INCOMPLETE', 'AMBIGUOUS'));
drop index uq_held_account_open;
create unique index uq_held_account_open on held_account (tenant_id, identity_provider_id, subject)
    nulls not distinct where state = 'open';

create table person_sync (
    tenant_id uuid not null,
    person_id uuid not null,
    digest text,
    synced_at timestamp with time zone,
    cause text,
    tried_at timestamp with time zone not null,
    failed boolean default 'false' not null,
    constraint pk_person_sync primary key (tenant_id, person_id),
    constraint ck_person_sync_failed check (not failed or cause is not null),
    constraint fk_person_sync_person foreign key(tenant_id, person_id) references person (tenant_id, id)
);

create table realm_check (
    tenant_id uuid not null,
    id uuid not null,
    started_at timestamp with time zone not null,
    finished_at timestamp with time zone,
    people integer default '0' not null,
    users integer default '0' not null,
    repaired integer default '0' not null,
    findings jsonb default '[]' not null,
    constraint pk_realm_check primary key (tenant_id, id),
    constraint fk_realm_check_tenant foreign key(tenant_id) references tenant (tenant_id)
);
create index ix_realm_check_tenant_started on realm_check (tenant_id, started_at, id);
"""
CHANGED = {
    "person_sync": "digest, synced_at, cause, tried_at, failed",
    "realm_check": "finished_at, people, users, repaired, findings",
}
"""Table -> what is changed of it."""
MINE = "(tenant_id = (select app_tenant()))"


def upgrade() -> None:
    """Columns and tables with their walls (docs/decisions/walls.md: TENANT)."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    for table, columns in CHANGED.items():
        bind.exec_driver_sql(
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy {table}_read on {table} for select to caretree_app using {MINE};"
            f"create policy {table}_insert on {table} for insert to caretree_app with check {MINE};"
            f"create policy {table}_update on {table} for update to caretree_app using {MINE} with check {MINE};"
            f"grant select, insert on {table} to caretree_app;"
            f"grant update ({columns}) on {table} to caretree_app"
        )
    bind.exec_driver_sql(
        f"create policy realm_check_delete on realm_check for delete to caretree_app using {MINE};"
        "grant delete on realm_check to caretree_app"
    )


def downgrade() -> None:
    """Nobody knows any more what Keycloak was told; whoever is held for a directory is forgotten."""
    op.execute("drop table realm_check, person_sync")
    op.execute("delete from held_account where identity_provider_id is null or reason = 'AMBIGUOUS'")
    op.execute("drop index uq_held_account_open")
    op.execute(
        "create unique index uq_held_account_open on held_account (tenant_id, identity_provider_id, subject)"
        " where state = 'open'"
    )
    op.execute("alter table held_account alter column identity_provider_id set not null")
    op.execute("alter table held_account drop constraint ck_held_account_reason")
    op.execute(
        "alter table held_account add constraint ck_held_account_reason"
        " check (reason in ('NOT_KNOWN', 'NAME_TAKEN', 'DOMAIN_NOT_PROVEN', 'INCOMPLETE'))"
    )
    op.execute("revoke update (created_by) on role_mapping from caretree_app")
    op.execute("revoke update (of_directory) on identity_provider from caretree_app")
    op.execute("alter table identity_provider drop column of_directory")
    op.execute("revoke update (shut_out) on person from caretree_app")
    op.execute("alter table person drop column shut_out")
