"""Row-level security, grants, and what the planner must know to walk ordered indexes.

Every table belongs to a kind. TENANT: all rows of `app.tenant`. PLACED: those whose clinic or unit lies
in `app.scope_<resource>`. SITE: the same for the sites of patients. PATIENT: patients with such a site.
Writes are judged by `app.write_<resource>`, which only the command of that action sets. A setting that is
missing, or empty as a pooled connection leaves it, gives no row. Nobody but `caretree_app` has a policy.

Revision: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ROLES = ("caretree_app", "caretree_worker", "caretree_audit")

TENANT = (
    "tenant",
    "org_unit",
    "person",
    "role_grant",
    "revoked_session",
    "practitioner",
    "bookable_resource",
    "resource_assignment",
    "charge_master",
    "audit_event",
    "counter",
    "idempotency",
    "external_reference",
    "data_key",
)
PLACED = {  # table: the name by which policies know its resource
    "appointment": "appointment",
    "appointment_block": "appointment",
    "encounter": "encounter",
    "note": "note",
    "observation": "observation",
    "condition": "condition",
    "charge_item": "charge",
    "invoice": "invoice",
    "invoice_line": "invoice",
    "posting": "posting",
}
APPEND_ONLY = {"audit_event", "posting", "invoice_line", "idempotency", "external_reference"}
DELETABLE = ("resource_assignment", "revoked_session", "idempotency")
FIXED = {  # what no command may change, beside the key: a row keeps its place, sensitivity follows the patient's
    "clinic_id",
    "unit_id",
    "patient_id",
    "encounter_id",
    "resource_id",
    "created_at",
}
ONLY = {"role_grant": ("valid_until",)}  # whoever wants other rights needs another grant

FUNCTIONS = """\
create function app_tenant() returns uuid language sql stable parallel safe
as $$ select nullif(current_setting('app.tenant', true), '')::uuid $$;

create function app_all(setting text) returns boolean language sql stable parallel safe
as $$ select current_setting(setting, true) = '*' $$;

create function app_units(setting text) returns uuid[] language sql stable parallel safe
as $$ select nullif(nullif(current_setting(setting, true), ''), '*')::uuid[] $$;

-- A patient of this health system by exact match on all three, wherever seen, unless restricted.
-- Null when nobody or more than one matches, or when another tenant is asked for.
create function find_for_admission(tenant uuid, mrn text, birth_date date, family_key text) returns uuid
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select (array_agg(p.id))[1]
    from public.patient p
    where p.tenant_id = find_for_admission.tenant
        and p.tenant_id = public.app_tenant()
        and p.mrn = find_for_admission.mrn
        and p.birth_date = find_for_admission.birth_date
        and p.family_key = find_for_admission.family_key
        and p.sensitivity = 0
        and p.active
    having count(*) = 1
$$;
revoke execute on function find_for_admission(uuid, text, date, text) from public;
grant execute on function find_for_admission(uuid, text, date, text) to caretree_app;
grant execute on function make_audit_partitions(integer) to caretree_worker;
grant usage on schema public to caretree_app, caretree_worker, caretree_audit;
"""


def within(setting: str, row: str) -> str:
    """The condition that the row's place lies in the setting. Each `(select …)` runs once a statement."""
    units = f"(select app_units('{setting}'))::uuid[]"
    return (
        f"((select app_all('{setting}'))"
        f" or {row}.clinic_id = any ({units}) or {row}.unit_id = any ({units}))"
    )


def has_site(setting: str, further: str = "") -> str:
    """The condition that a patient has a site that the reader sees: the policy of `patient_site` holds inside."""
    return (
        f"((select app_all('{setting}')) or exists (select from patient_site s"
        f" where s.tenant_id = patient.tenant_id and s.patient_id = patient.id{further}))"
    )


def wall(table: str, read: str, write: str) -> list[str]:
    """Row-level security of one table: a condition for reading and one for the rows before and after a write."""
    own = "tenant_id = app_tenant()"
    read, write = (f"{own} and {c}" if c else own for c in (read, write))
    policies = [
        f"alter table {table} enable row level security",
        f"alter table {table} force row level security",
        f"create policy {table}_read on {table} for select to caretree_app using ({read})",
        f"create policy {table}_insert on {table} for insert to caretree_app with check ({write})",
    ]
    if table not in APPEND_ONLY:
        policies.append(
            f"create policy {table}_update on {table} for update to caretree_app"
            f" using ({write}) with check ({write})"
        )
    if table in DELETABLE:
        policies.append(
            f"create policy {table}_delete on {table} for delete to caretree_app using ({write})"
        )
    return policies


def grants(table: str) -> list[str]:
    """What the application may do at all. Updates are granted by column, so that no row changes its place."""
    given = [f"grant select, insert on {table} to caretree_app"]
    if table not in APPEND_ONLY:
        fixed = FIXED if table == "patient" else FIXED | {"sensitivity"}
        columns = (
            op.get_bind()
            .exec_driver_sql(
                "select attname from pg_attribute a where attrelid = %s::regclass"
                " and attnum > 0 and not attisdropped and not exists (select from pg_index"
                " where indrelid = attrelid and indisprimary and attnum = any (indkey)) order by attnum",
                (table,),
            )
            .scalars()
        )
        may = ONLY.get(table) or [c for c in columns if c not in fixed]
        free = ", ".join(f'"{c}"' for c in may)
        if free:
            given.append(f"grant update ({free}) on {table} to caretree_app")
    if table in DELETABLE:
        given.append(f"grant delete on {table} to caretree_app")
    return given


def refuse_without_roles() -> None:
    """The roles belong to the server, not to this database: whoever prepares the server makes them."""
    there = op.get_bind().exec_driver_sql("select rolname from pg_roles").scalars().all()
    missing = [r for r in ROLES if r not in there]
    if missing:
        raise RuntimeError(
            f"The database roles {', '.join(missing)} do not exist on this server."
            " Make them first (docs/operating.md, Database roles), then migrate again."
        )


def upgrade() -> None:
    """Deny by default: what is not granted and let through by a policy here, no role of ours can do."""
    refuse_without_roles()
    bind = op.get_bind().execution_options(no_parameters=True)
    bind.exec_driver_sql(FUNCTIONS)
    site = "patient_site"
    statements = [s for table in TENANT for s in wall(table, "", "")]
    for table, resource in PLACED.items():
        statements += wall(
            table, within(f"app.scope_{resource}", table), within(f"app.write_{resource}", table)
        )
    statements += wall(site, within("app.scope_patient", site), within("app.write_patient", site))
    statements += wall(
        "patient",
        has_site("app.scope_patient"),
        has_site("app.write_patient", f" and {within('app.write_patient', 's')}"),
    )
    for table in (*TENANT, *PLACED, site, "patient"):
        statements += grants(table)
    statements += [
        # For a server that refuses BYPASSRLS to the owner of find_for_admission.
        "create policy patient_admission on patient for select to current_user"
        " using (tenant_id = app_tenant() and sensitivity = 0)",
        "create policy audit_event_append on audit_event for insert to caretree_audit"
        " with check (tenant_id = app_tenant())",
        "grant insert on audit_event to caretree_audit",
    ]
    # A unit lies in one clinic and a clinic in one tenant. Not knowing it, the planner multiplies the
    # selectivities, expects a handful of rows and sorts them instead of walking an ordered index.
    statements += [
        f"create statistics st_{table}_place (dependencies) on tenant_id, clinic_id, unit_id from {table}"
        for table in (*PLACED, site)
    ]
    for statement in statements:
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    """Take policies, grants and functions back; the roles stay."""
    tables = (*TENANT, *PLACED, "patient_site", "patient")
    policies = op.get_bind().exec_driver_sql(
        "select policyname, tablename from pg_policies where schemaname = 'public'"
    )
    for policy, table in policies.all():
        if table in tables:
            op.execute(f"drop policy {policy} on {table}")
    for table in tables:
        op.execute(f"alter table {table} no force row level security, disable row level security")
        op.execute(f"revoke all on {table} from {', '.join(ROLES)}")
    for table in (*PLACED, "patient_site"):
        op.execute(f"drop statistics st_{table}_place")
    op.execute("revoke execute on function make_audit_partitions(integer) from caretree_worker")
    op.execute("revoke usage on schema public from caretree_app, caretree_worker, caretree_audit")
    op.execute("drop function find_for_admission(uuid, text, date, text)")
    op.execute("drop function app_units(text), app_all(text), app_tenant()")
