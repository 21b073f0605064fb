"""The rules for data, which keep a health system's rows its own and the tables fit to be distributed by tenant.

Read from the models and again from the migrated database, since each can go wrong alone.
"""

import re

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Float,
    ForeignKeyConstraint,
    LargeBinary,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, TSRANGE, ExcludeConstraint
from sqlalchemy.orm import Mapper

from domain.control import ControlBase
from domain.model import Base, Wall
from domain.tables import load

MAPPERS: dict[str, Mapper[Base]] = {m.class_.__tablename__: m for m in load().registry.mappers}
TABLES: dict[str, Table] = dict(Base.metadata.tables)
ALL_TABLES = {**TABLES, **{t.fullname: t for t in ControlBase.metadata.tables.values()}}
GUARDED = sorted(n for n, m in MAPPERS.items() if m.class_.__wall__ is not Wall.TENANT)
PLACED = sorted(n for n, m in MAPPERS.items() if m.class_.__wall__ in (Wall.PLACED, Wall.SITE))
APPEND_ONLY = {"audit_event", "posting", "invoice_line", "idempotency", "external_reference"} | {
    *("allocation", "claim_receipt", "claim_step", "daily_close", "sign_in"),
    *("scim_email", "scim_membership", "login_session", "scim_request", "scim_release"),
    *("logout_token", "signing_key", "saml_request", "saml_message", "provider_warning"),
}
"""Rows of these are never changed by the application; a new table is changeable unless it is added here."""
NOBODYS = {"patient", "appointment_block", "daily_close"}
"""Guarded tables whose rows follow no patient."""
ANSWER = {"paid_minor", "adjusted_minor", "patient_minor"}
ONLY = {
    "role_grant": {"valid_until", "version", "updated_at"},
    "grant_request": {"state", "decided_by", "decided_at", "grant_id", "version", "updated_at"},
    "device_reset": {"state", "decided_by", "decided_at", "version", "updated_at"},
    "tenant": {"tokens_valid_from", "tree_version", "version", "updated_at"}
    | {"session_idle", "session_max", "jit_mode"}
    | {"departures_few", "departures_most", "departures_percent"},
    "setup_link": {"session_hash", "first_passwords", "redeemed_at", "ended_at"},
    "person_sync": {"digest", "synced_at", "cause", "tried_at", "failed"},
    "realm_cursor": {"read_until", "keys", "keys_at"},
    "direct_session": {"code_hash", "refresh_hash", "used_at"},
    "realm_check": {"finished_at", "people", "users", "repaired", "findings"},
    "identity_link": {"asserted", "version", "updated_at"},
    "identity_provider": {"name", "vendor", "state", "endpoints", "certificates", "attributes"}
    | {
        "client_id",
        "client_secret_sealed",
        "creates",
        "mfa_contexts",
        "test_until",
        "version",
        "updated_at",
    }
    | {"of_directory", "metadata_url", "metadata_read_at", "metadata_problem", "expires_at"},
    "role_mapping": {"valid_until", "ended_at", "created_by", "version", "updated_at"},
    "provider_test": {"finished_at", "passed", "steps", "version", "updated_at"},
    "held_account": {"asserted", "reason", "person_id", "state", "decided_by", "decided_at"}
    | {"version", "updated_at"},
    "scim_token": {"revoked_at", "last_used_at", "warned_days"},
    "scim_departure": {"asked_at", "refused_at"},
    "email_domain": {"identity_provider_id", "state", "proven_at", "checked_at"}
    | {"version", "updated_at"},
    "invoice": {"state", "cancelled_at", "cancelled_by", "cancel_reason", "version", "updated_at"},
    "claim_item": ANSWER,
    "reminder": {"state", "cause", "due_at", "attempts", "held_until", "sent_at"},
    "claim": ANSWER
    | {"state", "queue", "step", "payer_reference", "filed_at", "adjudicated_at"}
    | {"version", "updated_at"},
}
"""A grant ends; whoever wants other rights needs another one. What was billed or claimed stays as it was, and whom a
provider speaks of."""


def columns(parts: object) -> list[str]:
    return [str(getattr(part, "name", part)) for part in parts]  # type: ignore[attr-defined]  # any collection of columns


@pytest.mark.parametrize("name", TABLES)
def test_the_tenant_comes_first_in_every_key(name: str) -> None:
    table = TABLES[name]
    assert columns(table.primary_key.columns)[0] == "tenant_id"
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint | ExcludeConstraint):
            first = next(iter(constraint.columns))
            assert first.name == "tenant_id", constraint.name
        if isinstance(constraint, ForeignKeyConstraint):
            pairs = [(e.parent.name, e.column.name) for e in constraint.elements]
            assert pairs[0] == ("tenant_id", "tenant_id"), constraint.name
    for index in table.indexes:
        assert getattr(index.expressions[0], "name", None) == "tenant_id", index.name


@pytest.mark.parametrize("name", TABLES)
def test_no_key_is_set_null_or_deleted_behind_the_commands_back(name: str) -> None:
    for constraint in TABLES[name].foreign_key_constraints:
        assert constraint.ondelete in (None, "RESTRICT"), constraint.name
        # A key may follow its parent's state or sensitivity; nothing else cascades.
        assert constraint.onupdate in (None, "CASCADE"), constraint.name


@pytest.mark.parametrize("name", ALL_TABLES)
def test_columns_have_types_that_do_not_lie(name: str) -> None:
    for column in ALL_TABLES[name].columns:
        kind = column.type
        assert not isinstance(kind, Float | TSRANGE), f"{column}: never a float, never local time"
        assert not isinstance(kind, DateTime) or kind.timezone, f"{column}: timestamptz only"
        assert type(kind) is not JSON, f"{column}: jsonb"
        assert not column.name.endswith("_minor") or isinstance(kind, BigInteger), str(column)
        assert not column.name.endswith(("_sealed", "_index")) or isinstance(kind, LargeBinary), (
            str(column)
        )


@pytest.mark.parametrize("name", ALL_TABLES)
def test_ids_are_made_in_python(name: str) -> None:
    for column in ALL_TABLES[name].primary_key.columns:
        assert column.autoincrement in (False, "auto"), str(column)
        assert column.identity is None, str(column)
        assert column.server_default is None or column.name == "recorded_at", str(column)


@pytest.mark.parametrize("name", PLACED)
def test_a_placed_row_has_a_place_that_cannot_be_elsewhere(name: str) -> None:
    table = TABLES[name]
    assert not {"clinic_id", "unit_id"} - set(table.c.keys())
    assert not any(table.c[part].nullable for part in ("clinic_id", "unit_id"))
    anchors = {"org_unit", "encounter", "invoice"}
    held = {
        constraint.referred_table.name
        for constraint in table.foreign_key_constraints
        if {"clinic_id", "unit_id"} <= set(columns(constraint.columns))
    }
    assert held & anchors, f"{name}: no foreign key holds the unit in its clinic"


@pytest.mark.parametrize("name", sorted(set(GUARDED) - NOBODYS))
def test_sensitivity_follows_the_patient_by_a_foreign_key(name: str) -> None:
    assert any(
        "sensitivity" in columns(constraint.columns) and constraint.onupdate == "CASCADE"
        for constraint in TABLES[name].foreign_key_constraints
    )


@pytest.mark.parametrize("name", sorted(MAPPERS))
def test_a_relationship_is_never_loaded_behind_ones_back(name: str) -> None:
    for relationship in MAPPERS[name].relationships:
        assert relationship.lazy == "raise", str(relationship)


def test_a_guarded_table_names_its_resource() -> None:
    for name in GUARDED:
        assert MAPPERS[name].class_.__resource__, name


def test_constraint_names_fit_and_do_not_end_in_a_number() -> None:
    """A sharded server adds a number, which is taken off again; PostgreSQL cuts names after 63 bytes."""
    for table in ALL_TABLES.values():
        found = [*(c.name for c in table.constraints), *(i.name for i in table.indexes)]
        assert all(found), table.name
        for part in map(str, found):
            assert len(part) <= 55, part
            assert not re.search(r"_\d+$", part), part


@pytest.mark.parametrize("name", TABLES)
def test_no_index_of_one_column_beside_the_ordered_ones(name: str) -> None:
    for index in TABLES[name].indexes:
        assert len(index.expressions) > 1 or index.unique, index.name


# The migrated database


def names(owner: Connection, statement: str) -> set[str]:
    return {str(name) for name in owner.scalars(text(statement))}


OURS = "relnamespace in ('public'::regnamespace, 'control'::regnamespace) and relname !~ '^procrastinate_'"


def test_every_table_of_a_cell_is_behind_a_forced_wall(owner: Connection) -> None:
    open_ = names(
        owner,
        "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace"
        " and not (relrowsecurity and relforcerowsecurity)",
    )
    assert {n for n in open_ if not n.startswith("procrastinate_")} == {"alembic_version"}


@pytest.mark.parametrize("name", sorted(MAPPERS))
def test_policies_are_those_of_the_models_wall(owner: Connection, name: str) -> None:
    model = MAPPERS[name].class_
    found = owner.execute(
        text("select cmd, coalesce(qual, '') || coalesce(with_check, '') from pg_policies"
             " where tablename = :t and roles = '{caretree_app}'"),
        {"t": name},
    ).all()  # fmt: skip
    wanted = {"SELECT", "INSERT"} | (set() if name in APPEND_ONLY else {"UPDATE"})
    commands = [command for command, _ in found]
    assert len(commands) == len(set(commands)), (
        "two policies of one kind add up: each must hold alone"
    )
    assert wanted <= set(commands) <= wanted | {"DELETE"}
    for command, condition in found:
        settings = set(re.findall(r"'(app\.\w+)'", condition))
        kind = "scope" if command == "SELECT" else "write"
        guarded = model.__wall__ is not Wall.TENANT
        assert "tenant_id = ( SELECT app_tenant()" in condition, (
            f"{command}: write `tenant_id = (select app_tenant())`, which is asked once a statement"
        )
        assert settings == ({f"app.{kind}_{model.__resource__}"} if guarded else set()), command


@pytest.mark.parametrize("name", PLACED)
def test_the_planner_knows_that_a_place_implies_its_tenant(owner: Connection, name: str) -> None:
    found = names(
        owner,
        "select array_to_string(array(select attname from pg_attribute"
        " where attrelid = stxrelid and attnum = any (stxkeys) order by 1), ' ')"
        f" from pg_statistic_ext where stxrelid = '{name}'::regclass and 'f' = any (stxkind)",
    )
    assert "clinic_id tenant_id unit_id" in found


@pytest.mark.parametrize("name", sorted(MAPPERS))
def test_the_application_may_change_what_may_change_and_no_place(
    owner: Connection, name: str
) -> None:
    """A column that a later migration adds needs its grant: `grant update (column) on table to caretree_app`."""
    held = {"clinic_id", "unit_id", "patient_id", "encounter_id", "resource_id", "created_at"}
    for column in TABLES[name].columns:
        fixed = column.primary_key or column.name in held or _follows(name, column)
        may = owner.scalar(
            text("select has_column_privilege('caretree_app', :t, :c, 'update')"),
            {"t": name, "c": column.name},
        )
        wanted = not fixed and name not in APPEND_ONLY and column.computed is None
        assert may is (wanted and column.name in ONLY.get(name, {column.name})), str(column)


def _follows(name: str, column: "Column[object]") -> bool:
    return column.name == "sensitivity" and name != "patient"


def test_no_trigger_rule_or_sequence_of_ours(owner: Connection) -> None:
    assert names(
        owner,
        f"select relname || '.' || tgname from pg_trigger join pg_class on pg_class.oid = tgrelid"
        f" where not tgisinternal and {OURS}",
    ) == set()  # fmt: skip
    assert (
        names(owner, "select rulename from pg_rules where schemaname in ('public', 'control')")
        == set()
    )
    assert names(owner, f"select relname from pg_class where relkind = 'S' and {OURS}") == set()


def test_no_foreign_key_leaves_the_cell(owner: Connection) -> None:
    assert names(
        owner,
        "select conname from pg_constraint join pg_class a on a.oid = conrelid"
        " join pg_class b on b.oid = confrelid where a.relnamespace <> b.relnamespace",
    ) == set()  # fmt: skip


def test_the_roles_are_what_they_should_be(owner: Connection) -> None:
    found = owner.execute(
        text("select rolname, rolsuper, rolcreaterole, rolcreatedb from pg_roles where rolname like 'caretree\\_%'"
             " and rolname not like 'caretree\\_test\\_%'")
    ).all()  # fmt: skip
    assert {row.rolname for row in found} >= {
        "caretree_owner",
        "caretree_app",
        "caretree_worker",
        "caretree_audit",
        "caretree_platform",
    }
    for row in found:
        assert not any((row.rolsuper, row.rolcreaterole, row.rolcreatedb)), row.rolname
    bypass = names(
        owner, "select rolname from pg_roles where rolbypassrls and rolname like 'caretree\\_%'"
    )
    assert bypass <= {"caretree_owner"}


@pytest.mark.parametrize(
    "role", ["caretree_app", "caretree_worker", "caretree_audit", "caretree_platform"]
)
def test_no_role_of_the_product_owns_anything_or_makes_tables(owner: Connection, role: str) -> None:
    owned = names(owner, f"select relname from pg_class where pg_get_userbyid(relowner) = '{role}'")
    assert owned == set()
    for schema in ("public", "control"):
        asked = text("select has_schema_privilege(:r, :s, 'create')")
        assert owner.scalar(asked, {"r": role, "s": schema}) is False


def test_only_extensions_that_the_embedded_server_has(owner: Connection) -> None:
    assert names(owner, "select extname from pg_extension") <= {"plpgsql", "btree_gist"}
