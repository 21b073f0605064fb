"""Two functions that see more than their caller, each for one purpose, within the caller's write scope.

`copy_to_sites`: who may update a patient at one site changes the copies at all of them, also where they
cannot look. `open_balance`: who records a payment (front desk) may not read invoices or postings, but a
payment must not exceed what is owed. Expand only: code of the revision before runs on.

Revision: 0008
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

FUNCTIONS = """\
-- Brings the copied columns of all sites of a patient up to the patient's row; answers how many rows changed.
create function copy_to_sites(tenant uuid, patient uuid) returns integer
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    with source as (
        select p.* from public.patient p
        where p.tenant_id = copy_to_sites.tenant
            and p.tenant_id = public.app_tenant()
            and p.id = copy_to_sites.patient
            and (public.app_all('app.write_patient') or exists (
                select from public.patient_site s
                where s.tenant_id = p.tenant_id and s.patient_id = p.id
                    and (s.clinic_id = any (public.app_units('app.write_patient'))
                        or s.unit_id = any (public.app_units('app.write_patient')))))
    ), changed as (
        update public.patient_site s
        set family_key = p.family_key, given_key = p.given_key,
            birth_date = p.birth_date, active = p.active
        from source p
        where s.tenant_id = p.tenant_id and s.tenant_id = copy_to_sites.tenant and s.patient_id = p.id
            and (s.family_key, s.given_key, s.birth_date, s.active)
                is distinct from (p.family_key, p.given_key, p.birth_date, p.active)
        returning 1
    )
    select count(*)::integer from changed
$$;

-- What a patient owes at a clinic in minor units: issued invoices less postings. Null outside the write scope.
create function open_balance(tenant uuid, clinic uuid, patient uuid) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select (
        coalesce((select sum(i.total_minor) from public.invoice i
            where i.tenant_id = open_balance.tenant and i.clinic_id = open_balance.clinic
                and i.patient_id = open_balance.patient and i.state in ('issued', 'balanced')), 0)
        - coalesce((select sum(p.amount_minor) from public.posting p
            where p.tenant_id = open_balance.tenant and p.clinic_id = open_balance.clinic
                and p.patient_id = open_balance.patient), 0)
    )::bigint
    where open_balance.tenant = public.app_tenant()
        and (public.app_all('app.write_posting') or exists (
            select from public.org_unit u
            where u.tenant_id = open_balance.tenant and u.clinic_id = open_balance.clinic
                and (u.clinic_id = any (public.app_units('app.write_posting'))
                    or u.id = any (public.app_units('app.write_posting')))))
$$;
revoke execute on function copy_to_sites(uuid, uuid), open_balance(uuid, uuid, uuid) from public;
grant execute on function copy_to_sites(uuid, uuid), open_balance(uuid, uuid, uuid) to caretree_app;
"""

# For a server that refuses BYPASSRLS to the owner of the functions.
POLICIES = (
    "create policy patient_copies on patient for select to current_user using (tenant_id = app_tenant())",
    "create policy patient_site_copies on patient_site for select to current_user"
    " using (tenant_id = app_tenant())",
    "create policy patient_site_copied on patient_site for update to current_user"
    " using (tenant_id = app_tenant()) with check (tenant_id = app_tenant())",
    "create policy invoice_balance on invoice for select to current_user using (tenant_id = app_tenant())",
    "create policy posting_balance on posting for select to current_user using (tenant_id = app_tenant())",
    "create policy org_unit_balance on org_unit for select to current_user using (tenant_id = app_tenant())",
)


def upgrade() -> None:
    """Make the functions and what their owner needs where it does not bypass row-level security."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(FUNCTIONS)
    for policy in POLICIES:
        op.execute(policy)


def downgrade() -> None:
    """Take both away."""
    for policy in POLICIES:
        name, table = policy.split()[2], policy.split()[4]
        op.execute(f"drop policy {name} on {table}")
    op.execute("drop function copy_to_sites(uuid, uuid), open_balance(uuid, uuid, uuid)")
