"""Findings, diagnoses, notes and visits in full: values of every kind, sections, co-signatures, steps of states.

A row keeps the state before its present one, and a check refuses a step that the table of states does not have.
Expand only: code of the revision before runs on.

Revision: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COLUMNS = """\
alter table encounter
    add column recorded_by uuid,
    add column state_before text,
    add column error_reason text;
grant update (recorded_by, state_before, error_reason) on encounter to caretree_app;
alter table note
    add column subjective_sealed bytea,
    add column objective_sealed bytea,
    add column assessment_sealed bytea,
    add column plan_sealed bytea,
    add column amendment text,
    add column cosigned_by uuid,
    add column cosigned_at timestamp with time zone,
    add column state_before text,
    add column error_reason text;
grant update (subjective_sealed, objective_sealed, assessment_sealed, plan_sealed, amendment, cosigned_by, cosigned_at, state_before, error_reason) on note to caretree_app;
alter table note alter column body_sealed drop not null;
alter table observation
    add column value_code_system text,
    add column value_code text,
    add column value_display text,
    add column value_boolean boolean,
    add column range_low numeric,
    add column range_high numeric,
    add column range_text text,
    add column interpretation text,
    add column part_of_id uuid,
    add column part text,
    add column state_before text,
    add column error_reason text;
grant update (value_code_system, value_code, value_display, value_boolean, range_low, range_high, range_text, interpretation, part_of_id, part, state_before, error_reason) on observation to caretree_app;
alter table observation drop constraint ck_observation_one_value;
alter table condition
    add column category text default 'encounter-diagnosis' not null,
    add column abated_on date,
    add column state_before text,
    add column error_reason text;
grant update (category, abated_on, state_before, error_reason) on condition to caretree_app;
"""

CONSTRAINTS = (
    (
        "encounter",
        "ck_encounter_error_reason",
        "check (error_reason is null or state = 'entered-in-error')",
    ),
    (
        "encounter",
        "ck_encounter_state_step",
        "check (state_before is null or (state_before, state) in (('planned', 'arrived'), "
        "('planned', 'in-progress'), ('planned', 'cancelled'), ('planned', "
        "'entered-in-error'), ('arrived', 'triaged'), ('arrived', 'in-progress'), "
        "('arrived', 'cancelled'), ('arrived', 'entered-in-error'), ('triaged', "
        "'in-progress'), ('triaged', 'cancelled'), ('triaged', 'entered-in-error'), "
        "('in-progress', 'onleave'), ('in-progress', 'finished'), ('in-progress', "
        "'cancelled'), ('in-progress', 'entered-in-error'), ('onleave', 'in-progress'), "
        "('onleave', 'finished'), ('onleave', 'entered-in-error'), ('finished', "
        "'entered-in-error'), ('cancelled', 'entered-in-error')))",
    ),
    (
        "encounter",
        "fk_encounter_recorded_by",
        "foreign key (tenant_id, recorded_by) references person (tenant_id, id)",
    ),
    ("note", "ck_note_amendment", "check (amendment in ('addendum', 'amendment'))"),
    ("note", "ck_note_amends", "check ((amendment is null) = (amends_id is null))"),
    ("note", "ck_note_cosigned", "check ((cosigned_by is null) = (cosigned_at is null))"),
    ("note", "ck_note_cosigner", "check (cosigned_by <> author_id and cosigned_at >= signed_at)"),
    ("note", "ck_note_error_reason", "check (error_reason is null or state = 'entered-in-error')"),
    (
        "note",
        "ck_note_state_step",
        "check (state_before is null or (state_before, state) in (('draft', 'signed'), "
        "('signed', 'amended'), ('signed', 'entered-in-error'), ('amended', "
        "'entered-in-error')))",
    ),
    (
        "note",
        "ck_note_text",
        ""
        "check (num_nonnulls(body_sealed, subjective_sealed, objective_sealed, assessment_sealed, plan_sealed) > 0)",
    ),
    (
        "note",
        "fk_note_cosigned_by",
        "foreign key (tenant_id, cosigned_by) references person (tenant_id, id)",
    ),
    (
        "observation",
        "ck_observation_error_reason",
        "check (error_reason is null or state = 'entered-in-error')",
    ),
    (
        "observation",
        "ck_observation_interpretation",
        "check (interpretation in ('N', 'A', 'AA', 'L', 'LL', 'H', 'HH', 'POS', 'NEG', "
        "'DET', 'ND', 'IND'))",
    ),
    (
        "observation",
        "ck_observation_one_value",
        "check (num_nonnulls(value_quantity, value_text, value_code, value_boolean) <= 1)",
    ),
    ("observation", "ck_observation_part", "check (part in ('component', 'member'))"),
    ("observation", "ck_observation_part_of", "check ((part is null) = (part_of_id is null))"),
    (
        "observation",
        "ck_observation_range",
        "check (range_high is null or range_high >= range_low)",
    ),
    (
        "observation",
        "ck_observation_state_step",
        "check (state_before is null or (state_before, state) in (('registered', "
        "'preliminary'), ('registered', 'final'), ('registered', 'cancelled'), "
        "('registered', 'entered-in-error'), ('preliminary', 'final'), ('preliminary', "
        "'cancelled'), ('preliminary', 'entered-in-error'), ('final', 'amended'), "
        "('final', 'corrected'), ('final', 'entered-in-error'), ('amended', 'corrected'), "
        "('amended', 'entered-in-error'), ('corrected', 'amended'), ('corrected', "
        "'entered-in-error'), ('cancelled', 'entered-in-error'), ('unknown', "
        "'preliminary'), ('unknown', 'final'), ('unknown', 'cancelled'), ('unknown', "
        "'entered-in-error')))",
    ),
    (
        "observation",
        "ck_observation_value_code",
        "check ((value_code is null) = (value_code_system is null))",
    ),
    (
        "observation",
        "fk_observation_part_of",
        "foreign key (tenant_id, part_of_id) references observation (tenant_id, id)",
    ),
    (
        "condition",
        "ck_condition_category",
        "check (category in ('problem-list-item', 'encounter-diagnosis'))",
    ),
    (
        "condition",
        "ck_condition_error_reason",
        "check (error_reason is null or verification_status = 'entered-in-error')",
    ),
    ("condition", "ck_condition_period", "check (abated_on is null or abated_on >= onset_on)"),
    (
        "condition",
        "ck_condition_state_step",
        "check (state_before is null or (state_before, verification_status) in "
        "(('unconfirmed', 'provisional'), ('unconfirmed', 'differential'), ('unconfirmed', "
        "'confirmed'), ('unconfirmed', 'refuted'), ('unconfirmed', 'entered-in-error'), "
        "('provisional', 'unconfirmed'), ('provisional', 'differential'), ('provisional', "
        "'confirmed'), ('provisional', 'refuted'), ('provisional', 'entered-in-error'), "
        "('differential', 'unconfirmed'), ('differential', 'provisional'), "
        "('differential', 'confirmed'), ('differential', 'refuted'), ('differential', "
        "'entered-in-error'), ('confirmed', 'unconfirmed'), ('confirmed', 'provisional'), "
        "('confirmed', 'differential'), ('confirmed', 'refuted'), ('confirmed', "
        "'entered-in-error'), ('refuted', 'unconfirmed'), ('refuted', 'provisional'), "
        "('refuted', 'differential'), ('refuted', 'confirmed'), ('refuted', "
        "'entered-in-error')))",
    ),
)


INDEXES = (
    "create index concurrently ix_observation_code"
    " on observation (tenant_id, patient_id, code, effective_at, id)",
    "create index concurrently ix_observation_part_of"
    " on observation (tenant_id, part_of_id, id) where part_of_id is not null",
    "create index concurrently ix_note_amends"
    " on note (tenant_id, amends_id, id) where amends_id is not null",
)
ADDED = {
    "encounter": ("recorded_by", "state_before", "error_reason"),
    "note": (
        *("subjective_sealed", "objective_sealed", "assessment_sealed", "plan_sealed", "amendment"),
        *("cosigned_by", "cosigned_at", "state_before", "error_reason"),
    ),
    "observation": (
        *("value_code_system", "value_code", "value_display", "value_boolean", "range_low"),
        *("range_high", "range_text", "interpretation", "part_of_id", "part", "state_before"),
        "error_reason",
    ),
    "condition": ("category", "abated_on", "state_before", "error_reason"),
}


def upgrade() -> None:
    """Columns, then what holds for them; indexes last, without holding anybody up."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(COLUMNS)
    for table, name, rule in CONSTRAINTS:
        op.execute(f"alter table {table} add constraint {name} {rule} not valid")
        op.execute(f"alter table {table} validate constraint {name}")
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        for index in INDEXES:
            op.execute(index)


def downgrade() -> None:
    """Drop what this revision made; notes that have sections only keep an empty text."""
    op.execute("drop index ix_observation_code, ix_observation_part_of, ix_note_amends")
    op.execute("update note set body_sealed = '' where body_sealed is null")
    op.execute("alter table note alter column body_sealed set not null")
    op.execute("alter table observation drop constraint ck_observation_one_value")
    for table, columns in ADDED.items():
        op.execute(f"alter table {table} " + ", ".join(f"drop column {c}" for c in columns))
    op.execute(
        "alter table observation add constraint ck_observation_one_value"
        " check (num_nonnulls(value_quantity, value_text) <= 1)"
    )
