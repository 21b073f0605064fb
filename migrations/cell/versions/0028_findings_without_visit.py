"""Findings and problems that belong to no visit: brought along from elsewhere, they lie at a place where the patient is seen.

Such a row is held at its place as an allergy is; one of a visit stays where the visit is. Expand only: code of the
revision before runs on.

Revision: 0028
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TABLES = ("observation", "condition")
HELD = {
    "unit": "(tenant_id, unit_id, clinic_id) references org_unit (tenant_id, id, clinic_id)",
    "patient_at_clinic": "(tenant_id, clinic_id, patient_id, sensitivity)"
    " references patient_site (tenant_id, unit_id, patient_id, sensitivity) on update cascade",
    "patient_at_unit": "(tenant_id, unit_id, patient_id) references patient_site (tenant_id, unit_id, patient_id)",
}


def upgrade() -> None:
    """The column may be empty; the place is held by keys of its own, checked without keeping writers waiting."""
    for table in TABLES:
        op.execute(f"alter table {table} alter column encounter_id drop not null")
        for name, rule in HELD.items():
            op.execute(
                f"alter table {table} add constraint fk_{table}_{name} foreign key {rule} not valid"
            )
    for table in TABLES:
        for name in HELD:
            op.execute(f"alter table {table} validate constraint fk_{table}_{name}")


def downgrade() -> None:
    """As it was; refused where there are such rows."""
    for table in TABLES:
        op.execute(f"alter table {table} alter column encounter_id set not null")
        for name in HELD:
            op.execute(f"alter table {table} drop constraint fk_{table}_{name}")
