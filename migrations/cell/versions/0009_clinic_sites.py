"""A patient who is seen at a department is seen at its clinic, also where the asker may not write a row of the clinic.

`make_clinic_site`: who holds a role at a department alone registers and admits patients there, and the clinic's
row must stand beside the department's. Expand only: code of the revision before runs on.

Revision: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FUNCTION = """\
-- Makes the clinic's row beside a department's that lies in the caller's write scope; answers whether it was missing.
create function make_clinic_site(tenant uuid, patient uuid, department uuid) returns integer
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    with made as (
        insert into public.patient_site (tenant_id, unit_id, clinic_id, patient_id,
            family_key, given_key, birth_date, sensitivity, active)
        select s.tenant_id, s.clinic_id, s.clinic_id, s.patient_id,
            s.family_key, s.given_key, s.birth_date, s.sensitivity, s.active
        from public.patient_site s
        where s.tenant_id = make_clinic_site.tenant
            and s.tenant_id = public.app_tenant()
            and s.patient_id = make_clinic_site.patient
            and s.unit_id = make_clinic_site.department
            and (public.app_all('app.write_patient')
                or s.clinic_id = any (public.app_units('app.write_patient'))
                or s.unit_id = any (public.app_units('app.write_patient')))
        on conflict do nothing
        returning 1
    )
    select count(*)::integer from made
$$;
revoke execute on function make_clinic_site(uuid, uuid, uuid) from public;
grant execute on function make_clinic_site(uuid, uuid, uuid) to caretree_app;
"""

# For a server that refuses BYPASSRLS to the owner of the function; what it reads is open to it since 0008.
POLICY = (
    "create policy patient_site_clinic on patient_site for insert to current_user"
    " with check (tenant_id = app_tenant() and unit_id = clinic_id)"
)


def upgrade() -> None:
    """Make the function and what its owner needs where it does not bypass row-level security."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(FUNCTION)
    op.execute(POLICY)


def downgrade() -> None:
    """Take both away."""
    op.execute("drop policy patient_site_clinic on patient_site")
    op.execute("drop function make_clinic_site(uuid, uuid, uuid)")
