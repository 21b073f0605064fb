"""The four levels of the tree are a fact: a unit lies below one of a level that may hold it.

Levels are carried into foreign keys by columns that the database computes, so nobody writes them and code of the
revision before runs on. A region's and a department's parent has exactly one level; a clinic's is above all clinics.

Revision: 0025
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

UP = """\
alter table org_unit
    add column parent_level text generated always as
        (case level when 'region' then 'system' when 'department' then 'clinic' end) stored,
    add column above_clinics boolean generated always as (level in ('system', 'region')) stored,
    add column below_regions boolean generated always as (case when level = 'clinic' then true end) stored,
    add constraint uq_org_unit_level unique (tenant_id, id, level),
    add constraint uq_org_unit_above_clinics unique (tenant_id, id, above_clinics);
alter table org_unit
    add constraint fk_org_unit_parent_level foreign key (tenant_id, parent_id, parent_level)
        references org_unit (tenant_id, id, level),
    add constraint fk_org_unit_below_regions foreign key (tenant_id, parent_id, below_regions)
        references org_unit (tenant_id, id, above_clinics);
"""


def upgrade() -> None:
    """The columns, what they refer to, and the foreign keys. A tree that breaks the levels already is refused."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Take them away."""
    for name in ("fk_org_unit_parent_level", "fk_org_unit_below_regions", "uq_org_unit_level"):
        op.execute(f"alter table org_unit drop constraint {name}")
    for column in ("parent_level", "above_clinics", "below_regions"):
        op.execute(f"alter table org_unit drop column {column}")
