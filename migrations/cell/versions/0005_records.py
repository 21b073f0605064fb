"""The audit trail, in monthly partitions, and the small tables of all commands.

Revision: 0005
"""

from alembic import op

revision = "0005"
down_revision = '0004'
branch_labels = None
depends_on = None

PARTITIONS = """\
create table audit_event_default partition of audit_event default;
alter table audit_event_default enable row level security;
alter table audit_event_default force row level security;
-- For an owner without BYPASSRLS, who moves rows from here to their month.
create policy audit_event_default_moves on audit_event_default to current_user using (true) with check (true);

create function make_audit_partitions(ahead integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
-- Makes the partitions of this month and of the months after it, where they are missing. Rows that
-- went to the default partition meanwhile move to where they belong. Answers how many it made.
declare
    first timestamptz;
    last timestamptz;
    name text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('caretree audit partitions'));
    for month in 0 .. least(greatest(ahead, 0), 24) loop
        first := date_trunc('month', now()) + make_interval(months => month);
        last := first + interval '1 month';
        name := 'audit_event_' || to_char(first, 'YYYY_MM');
        continue when to_regclass('public.' || name) is not null;
        execute format('create table public.%I (like public.audit_event including defaults)', name);
        execute format(
            'with moved as (delete from public.audit_event_default'
            ' where recorded_at >= %L and recorded_at < %L returning *)'
            ' insert into public.%I select * from moved', first, last, name);
        execute format(
            'alter table public.audit_event attach partition public.%I for values from (%L) to (%L)',
            name, first, last);
        execute format('alter table public.%I enable row level security', name);
        execute format('alter table public.%I force row level security', name);
        made := made + 1;
    end loop;
    return made;
end
$$;
revoke execute on function make_audit_partitions(integer) from public;
"""

TABLES = """\
create table audit_event (
    tenant_id uuid not null,
    id uuid not null,
    recorded_at timestamp with time zone default clock_timestamp() not null,
    person_id uuid,
    role text,
    grant_id uuid,
    action text not null,
    outcome text not null,
    clinic_id uuid,
    subject_ids uuid[] default '{}' not null,
    masked text[] default '{}' not null,
    purpose text default 'TREAT' not null,
    policy_version text,
    tree_version integer,
    request_id uuid,
    constraint pk_audit_event primary key (tenant_id, id, recorded_at)
)
 partition by range (recorded_at);
create index ix_audit_event_person on audit_event (tenant_id, person_id, recorded_at);

create table counter (
    tenant_id uuid not null,
    name text not null,
    value bigint default '0' not null,
    constraint pk_counter primary key (tenant_id, name),
    constraint fk_counter_tenant foreign key(tenant_id) references tenant (tenant_id)
);

create table idempotency (
    tenant_id uuid not null,
    person_id uuid not null,
    operation text not null,
    key text not null,
    input_hash bytea not null,
    result_id uuid not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_idempotency primary key (tenant_id, person_id, operation, key),
    constraint fk_idempotency_person foreign key(tenant_id, person_id) references person (tenant_id, id)
);

create table external_reference (
    tenant_id uuid not null,
    source text not null,
    resource_type text not null,
    external_id text not null,
    local_id uuid not null,
    constraint pk_external_reference primary key (tenant_id, source, resource_type, external_id),
    constraint fk_external_reference_tenant foreign key(tenant_id) references tenant (tenant_id)
);

create table data_key (
    tenant_id uuid not null,
    purpose text not null,
    generation integer not null,
    wrapped bytea not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_data_key primary key (tenant_id, purpose, generation),
    constraint fk_data_key_tenant foreign key(tenant_id) references tenant (tenant_id)
);
"""


def upgrade() -> None:
    """Frozen text: what the models said on the day; later revisions change it from here."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(TABLES)
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(PARTITIONS)
    op.execute("select make_audit_partitions(3)")


def downgrade() -> None:
    """Drop what this revision made."""
    op.execute("drop function make_audit_partitions(integer)")
    op.execute("drop table data_key, external_reference, idempotency, counter, audit_event")
