"""Whoever looks for a patient to admit has a write scope that holds the place: the function asks that itself.

`find_for_admission` with a place is what the application calls from now on. The one without a place stays for code of
the revision before, and asks for a write scope at all: what only reads finds nobody by it. Contract: drop it once no
such code runs.

Revision: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FUNCTION = """\
-- A patient of this health system by exact match on all three, wherever seen, unless restricted, for a place that
-- lies in the caller's write scope. Null when nobody or more than one matches, or for any other place or tenant.
create function find_for_admission(tenant uuid, place uuid, mrn text, birth_date date, family_key text) returns uuid
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
        and exists (
            select from public.org_unit u
            where u.tenant_id = find_for_admission.tenant and u.id = find_for_admission.place
                and (public.app_all('app.write_patient')
                    or u.clinic_id = any (public.app_units('app.write_patient'))
                    or u.id = any (public.app_units('app.write_patient'))))
    having count(*) = 1
$$;
revoke execute on function find_for_admission(uuid, uuid, text, date, text) from public;
grant execute on function find_for_admission(uuid, uuid, text, date, text) to caretree_app;
"""

WITHOUT_PLACE = """\
create or replace function find_for_admission(tenant uuid, mrn text, birth_date date, family_key text) returns uuid
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
        and p.active{further}
    having count(*) = 1
$$;
"""
WRITES = """
        and (public.app_all('app.write_patient')
            or cardinality(public.app_units('app.write_patient')) > 0)"""


def upgrade() -> None:
    """Make the function that asks for a place; narrow the one that does not."""
    run(FUNCTION)
    run(WITHOUT_PLACE.format(further=WRITES))


def downgrade() -> None:
    """Put the function of 0006 back."""
    run(WITHOUT_PLACE.format(further=""))
    op.execute("drop function find_for_admission(uuid, uuid, text, date, text)")


def run(text: str) -> None:
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(text)
