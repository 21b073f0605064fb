"""${message}

Revision: ${up_revision}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

# Code of the version before this one runs while and after this runs, and code of this version runs on the
# schema before it during a rollback. So: expand first (nullable or defaulted columns, new tables), backfill
# tenant by tenant in a later revision, contract (NOT NULL, drop) only when no running code needs the old form.
# Never hold a lock that stops clinics: indexes CONCURRENTLY in `op.get_context().autocommit_block()` (there, first
# `set statement_timeout = 0`), constraints NOT VALID and then VALIDATE. Write the schema out; import nothing of ours, for models move on and this text must not.
# A new table needs its wall (row-level security, enabled and forced), its grants, its statistics when it is
# placed; to be erased with its health system the policy and the grants of 0043 and 0046; a new column needs `grant update (column)`. The tests name whatever was forgotten.


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
