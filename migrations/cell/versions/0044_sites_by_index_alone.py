"""Sites of patients are read from their indexes alone: what row-level security and the walks ask of them stands in there.

Expand only: code of the revision before runs on.

Revision: 0044
"""

from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

INDEXES = {  # name: (columns, what else a reader asks of the row)
    "ix_patient_site_family": (
        "tenant_id, unit_id, family_key, patient_id",
        "clinic_id, sensitivity",
    ),
    "ix_patient_site_birth": (
        "tenant_id, unit_id, birth_date, patient_id",
        "clinic_id, sensitivity",
    ),
    "ix_patient_site_patient": ("tenant_id, patient_id, unit_id", "clinic_id"),
}


def upgrade() -> None:
    """The wider index stands beside the narrow one until it is whole, so that nobody is held up."""
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        for name, (columns, further) in INDEXES.items():
            op.execute(f"drop index concurrently if exists {name}_next")  # half-made by a run that was cut off
            op.execute(
                f"create index concurrently {name}_next on patient_site ({columns}) include ({further})"
            )
            op.execute(f"drop index concurrently if exists {name}")
            op.execute(f"alter index {name}_next rename to {name}")


def downgrade() -> None:
    """The narrow ones; in one transaction with whatever else is taken back."""
    for name, (columns, _) in INDEXES.items():
        op.execute(f"drop index {name}")
        op.execute(f"create index {name} on patient_site ({columns})")
