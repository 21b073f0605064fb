"""Reminders: rules, settings and wordings at any unit, what was sent, and since when a calendar is looked through.

`quiet_span` and `reminder_at` are the one reading of quiet hours. Expand only: code of the revision before runs on.

Revision: 0022
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

TABLES = """\
create table reminder_rule (
    tenant_id uuid not null,
    id uuid not null,
    unit_id uuid not null,
    channel text not null,
    minutes_before integer,
    active boolean default 'true' not null,
    since timestamp with time zone not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_reminder_rule primary key (tenant_id, id),
    constraint fk_reminder_rule_org_unit foreign key(tenant_id, unit_id) references org_unit (tenant_id, id),
    constraint ck_reminder_rule_channel check (channel in ('email', 'webhook')),
    constraint ck_reminder_rule_minutes_before check (minutes_before between 15 and 43200)
);
create unique index uq_reminder_rule_in_force on reminder_rule (tenant_id, unit_id, channel, minutes_before)
    nulls not distinct where active;

create table reminder_setting (
    tenant_id uuid not null,
    id uuid not null,
    unit_id uuid not null,
    quiet_from time without time zone,
    quiet_until time without time zone,
    display_name text,
    phone text,
    webhook_url text,
    webhook_secret_sealed bytea,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_reminder_setting primary key (tenant_id, id),
    constraint fk_reminder_setting_org_unit foreign key(tenant_id, unit_id) references org_unit (tenant_id, id),
    constraint uq_reminder_setting_unit unique (tenant_id, unit_id),
    constraint ck_reminder_setting_quiet_hours check ((quiet_from is null) = (quiet_until is null)),
    constraint ck_reminder_setting_webhook check ((webhook_url is null) = (webhook_secret_sealed is null))
);

create table reminder_template (
    tenant_id uuid not null,
    id uuid not null,
    unit_id uuid not null,
    language text not null,
    subject text not null,
    body text not null,
    active boolean default 'true' not null,
    version integer default '1' not null,
    created_at timestamp with time zone default now() not null,
    updated_at timestamp with time zone default now() not null,
    constraint pk_reminder_template primary key (tenant_id, id),
    constraint fk_reminder_template_org_unit foreign key(tenant_id, unit_id) references org_unit (tenant_id, id),
    constraint uq_reminder_template_language unique (tenant_id, unit_id, language)
);

create table reminder_watch (
    tenant_id uuid not null,
    checked_until timestamp with time zone not null,
    looks_at timestamp with time zone,
    constraint pk_reminder_watch primary key (tenant_id),
    constraint fk_reminder_watch_tenant foreign key(tenant_id) references tenant (tenant_id)
);

create table reminder (
    tenant_id uuid not null,
    id uuid not null,
    clinic_id uuid not null,
    unit_id uuid not null,
    patient_id uuid not null,
    sensitivity smallint default '0' not null,
    appointment_id uuid not null,
    rule_id uuid not null,
    channel text not null,
    state text not null,
    cause text,
    due_at timestamp with time zone not null,
    attempts smallint default '0' not null,
    held_until timestamp with time zone,
    sent_at timestamp with time zone,
    created_at timestamp with time zone default now() not null,
    constraint pk_reminder primary key (tenant_id, id),
    constraint fk_reminder_unit foreign key(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id),
    constraint fk_reminder_patient_at_clinic foreign key(tenant_id, clinic_id, patient_id, sensitivity) references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade,
    constraint fk_reminder_patient_at_unit foreign key(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id),
    constraint ck_reminder_channel check (channel in ('email', 'webhook')),
    constraint ck_reminder_state check (state in ('due', 'sending', 'sent', 'failed', 'skipped')),
    constraint ck_reminder_cause check (cause in ('changed', 'withdrawn', 'opted-out', 'unreachable', 'too-late',
        'merged', 'refused', 'exhausted', 'not-configured')),
    constraint ck_reminder_cause_of_state check ((state in ('failed', 'skipped')) = (cause is not null)),
    constraint ck_reminder_sent_at_of_state check ((state = 'sent') = (sent_at is not null)),
    constraint uq_reminder_once unique (tenant_id, appointment_id, rule_id),
    constraint fk_reminder_appointment foreign key(tenant_id, appointment_id) references appointment (tenant_id, id),
    constraint fk_reminder_reminder_rule foreign key(tenant_id, rule_id) references reminder_rule (tenant_id, id)
);
create index ix_reminder_tenant_due_at on reminder (tenant_id, due_at, id);
create index ix_reminder_clinic_due_at on reminder (tenant_id, clinic_id, due_at, id);
create statistics st_reminder_place (dependencies) on tenant_id, clinic_id, unit_id from reminder;

alter table patient add column zone text, add column reminder_opt_outs text[] default '{}' not null;
alter table patient add constraint ck_patient_reminder_opt_outs
    check (reminder_opt_outs <@ array['email','webhook']) not valid;
alter table patient validate constraint ck_patient_reminder_opt_outs;
grant update (zone, reminder_opt_outs) on patient to caretree_app;
"""

FUNCTIONS = """\
-- The quiet hours that a moment lies in, by the clocks of the zone; null outside of them. A local time that the clocks
-- skip or repeat is the later instant; the moment itself is never left out.
create function quiet_span(moment timestamptz, zone text, quiet_from time, quiet_until time) returns tstzrange
language sql stable
as $$
    select tstzrange(
        least(moment, (day + quiet_from::interval) at time zone zone),
        greatest(moment, (day + quiet_until::interval
            + case when quiet_until < quiet_from then interval '1 day' else interval '0' end) at time zone zone))
    from (select case
            when local::time >= quiet_from and (local::time < quiet_until or quiet_until < quiet_from) then local::date
            when quiet_until < quiet_from and local::time < quiet_until then local::date - 1 end
        from (select moment at time zone zone) l (local)) d (day)
    where day is not null
$$;

-- When a reminder goes out: so many minutes before the visit, in quiet hours half an hour before they begin, or, where
-- nobody knew of the visit then, when they end. Null: it was known too late.
create function reminder_at(starts_at timestamptz, minutes integer, zone text, quiet_from time, quiet_until time,
    known_at timestamptz)
returns timestamptz
language sql stable
as $$
    select case
        when moment <= known_at then null
        when quiet is null then moment
        when lower(quiet) - interval '30 minutes' > known_at then lower(quiet) - interval '30 minutes'
        when upper(quiet) < starts_at then upper(quiet) end
    from (select starts_at - make_interval(mins => minutes)) m (moment),
        lateral (select quiet_span(moment, zone, quiet_from, quiet_until)) q (quiet)
$$;
"""

TENANTS = {
    "reminder_rule": "channel, minutes_before, active, since, version, updated_at",
    "reminder_setting": "quiet_from, quiet_until, display_name, phone, webhook_url, webhook_secret_sealed, version,"
    " updated_at",
    "reminder_template": "language, subject, body, active, version, updated_at",
    "reminder_watch": "checked_until, looks_at",
}
STEPS = "state, cause, due_at, attempts, held_until, sent_at"


def within(setting: str, row: str) -> str:
    """The condition that the row's place lies in the setting. Each `(select …)` runs once a statement."""
    units = f"(select app_units('{setting}'))::uuid[]"
    return (
        f"((select app_all('{setting}'))"
        f" or {row}.clinic_id = any ({units}) or {row}.unit_id = any ({units}))"
    )


def wall(table: str, read: str, write: str, columns: str) -> tuple[str, ...]:
    """Row-level security of a table, and what may be done to it at all."""
    return (
        f"alter table {table} enable row level security",
        f"alter table {table} force row level security",
        f"create policy {table}_read on {table} for select to caretree_app using ({read})",
        f"create policy {table}_insert on {table} for insert to caretree_app with check ({write})",
        f"create policy {table}_update on {table} for update to caretree_app using ({write}) with check ({write})",
        f"grant select, insert on {table} to caretree_app",
        f"grant update ({columns}) on {table} to caretree_app",
    )


def upgrade() -> None:
    """Tables with their walls and grants, the patient's columns, functions."""
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(TABLES)
    bind.exec_driver_sql(FUNCTIONS)
    own = "tenant_id = app_tenant()"
    read, write = (f"{own} and {within(f'app.{k}_appointment', 'reminder')}" for k in ("scope", "write"))
    statements = [*wall("reminder", read, write, STEPS)]
    for table, columns in TENANTS.items():
        statements += wall(table, own, own, columns)
    for statement in statements:
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    """Take it away, with the record of what was sent."""
    op.execute("drop function reminder_at(timestamptz, integer, text, time, time, timestamptz)")
    op.execute("drop function quiet_span(timestamptz, text, time, time)")
    op.execute("alter table patient drop column zone, drop column reminder_opt_outs")
    op.execute("drop table reminder, reminder_watch, reminder_template, reminder_setting, reminder_rule")
