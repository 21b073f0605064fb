"""Each revision goes up and down, leads to the models, runs alone, and reaches rows whoever owns the tables."""

import ast
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from domain.audit import AuditEvent
from domain.model import new_id
from domain.patients import Patient
from migrations import run
from migrations.run import CELL, CONTROL, Chain
from tests import make
from tests.database import ROOT, Database, create, drop, scratch
from tests.migrations.catalogue import Catalogue, catalogue

OURS = {"api", "authz", "domain", "identity", "dev", "tests", "migrations"}


def revisions(chain: Chain) -> list[str]:
    """The history from the first revision to the last."""
    script = ScriptDirectory.from_config(run.configuration(chain))
    return [revision.revision for revision in reversed(list(script.walk_revisions()))]


def schema(database: Database, chain: Chain) -> Catalogue:
    with database.owner_engine.connect() as connection:
        return catalogue(connection, chain.schema)


@pytest.mark.parametrize("chain", [CELL, CONTROL], ids=lambda chain: chain.name)
def test_each_revision_goes_up_down_and_up(empty_database: Database, chain: Chain) -> None:
    url = empty_database.owner_url
    before = "base"
    for revision in revisions(chain):
        down = schema(empty_database, chain)
        run.upgrade_chain(chain, url, revision)
        up = schema(empty_database, chain)
        assert up != down
        run.downgrade(chain, url, before)
        after = schema(empty_database, chain)
        after.forget_version_table()
        down.forget_version_table()
        assert after == down
        run.upgrade_chain(chain, url, revision)
        assert schema(empty_database, chain) == up
        before = revision


@pytest.mark.parametrize("chain", [CELL, CONTROL], ids=lambda chain: chain.name)
def test_all_goes_down_to_nothing_with_rows_inside(empty_database: Database, chain: Chain) -> None:
    url = empty_database.owner_url
    run.upgrade(url)
    tree = make.tree()
    make.save(empty_database, *tree.rows, *make.patient_at(tree.tenant, tree.clinics[0]))
    run.downgrade(chain, url, "base")
    left = schema(empty_database, chain)
    left.forget_version_table()
    assert left == Catalogue()
    run.upgrade(url)


@pytest.mark.parametrize("chain", [CELL, CONTROL], ids=lambda chain: chain.name)
def test_alembic_finds_nothing_to_add(database: Database, chain: Chain) -> None:
    run.check(chain, database.owner_url)


@pytest.mark.parametrize("chain", [CELL, CONTROL], ids=lambda chain: chain.name)
def test_the_migrated_schema_is_exactly_the_models(owner: Connection, chain: Chain) -> None:
    """Also what Alembic does not compare: checks, exclusions, collations, defaults, deferrable keys."""
    metadata = run.models(chain)
    owner.execute(text("create schema models"))
    bound = owner.execution_options(schema_translate_map={None: "models", "control": "models"})
    metadata.create_all(bound, checkfirst=False)
    wanted = catalogue(owner, "models")
    migrated = catalogue(owner, chain.schema).only(set(wanted.tables))
    assert set(migrated.tables) == {table.name for table in metadata.tables.values()}
    for name, table in wanted.tables.items():
        assert migrated.tables[name] == table


def test_a_second_upgrade_changes_nothing(database: Database) -> None:
    before = schema(database, CELL)
    run.upgrade(database.owner_url)
    assert schema(database, CELL) == before


def test_two_migrators_at_once_do_the_work_once(empty_database: Database) -> None:
    command_line = [sys.executable, "-m", "migrations.run", "upgrade"]
    environment = os.environ | {"CARETREE_OWNER_DATABASE_URL": empty_database.owner_url}
    migrators = [
        subprocess.Popen(command_line, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for migrator in migrators:
        _, told = migrator.communicate(timeout=120)
        assert (migrator.returncode, told) == (0, b"")
    run.check(CELL, empty_database.owner_url)


@pytest.mark.parametrize(
    "path", sorted(run.HERE.glob("*/versions/*.py")), ids=lambda path: path.name
)
def test_a_revision_is_frozen_text(path: Path) -> None:
    """It imports nothing of ours: models move on, what a revision does must not."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert not imported & OURS


def test_without_the_roles_it_refuses_in_a_sentence(empty_database: Database) -> None:
    """The roles cannot be taken off a server in use, so a view that lacks one stands before the catalogue."""
    run.upgrade(empty_database.owner_url, target="0005")
    with psycopg.connect(empty_database.owner_url) as connection:
        connection.execute("create schema fewer")
        connection.execute(
            "create view fewer.pg_roles as select * from pg_catalog.pg_roles"
            " where rolname <> 'caretree_audit'"
        )
    url = empty_database.url("caretree_owner", "search_path=fewer,pg_catalog,public")
    with pytest.raises(
        RuntimeError, match=r"database roles caretree_audit do not exist.*Make them"
    ):
        run.upgrade(url)


PLAIN_OWNER = f"caretree_test_plain_{os.getpid()}"


@pytest.fixture
def plainly_owned(admin_url: str, worker_id: str) -> Iterator[Database]:
    """A migrated database whose owner may not bypass row-level security, as some hosted servers have it."""
    name = f"caretree_test_{os.getpid()}_{worker_id}_plain"
    role = sql.Identifier(PLAIN_OWNER)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} nobypassrls").format(role))
        create(admin, name)
        database = sql.Identifier(name)
        admin.execute(sql.SQL("alter database {} owner to {}").format(database, role))
        try:
            made = Database(admin_url, name)
            run.upgrade(made.url(PLAIN_OWNER))
            yield made
        finally:
            drop(admin, name)
            admin.execute(sql.SQL("drop role {}").format(role))


DATA_MIGRATION = '''
"""Renames every patient's family name and adds a foreign key to a filled table."""

from alembic import op

revision = "test"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    changed = op.get_bind().exec_driver_sql("update patient set family_name = upper(family_name)")
    op.execute(f"create table counted (n integer not null)")
    op.execute(f"insert into counted values ({{changed.rowcount}})")
    op.execute("alter table encounter add constraint fk_encounter_test foreign key"
        " (tenant_id, patient_id) references patient (tenant_id, id)")


def downgrade() -> None:
    op.execute("alter table encounter drop constraint fk_encounter_test")
    op.execute("drop table counted")
'''


INDEX_MIGRATION = '''
"""Makes an index without holding up the clinics, as the template of revisions advises."""

from alembic import op

revision = "test"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.execute("create index concurrently ix_encounter_test on encounter (tenant_id, kind, id)")


def downgrade() -> None:
    op.execute("drop index ix_encounter_test")
'''


def with_revision(url: str, folder: Path, source: str = DATA_MIGRATION) -> Config:
    """The cell's configuration with one more revision at its end."""
    (folder / "test_data.py").write_text(source.format(head=revisions(CELL)[-1]))
    config = run.configuration(CELL, run.engine_of(url))
    ours = config.get_main_option("version_locations")
    config.set_main_option("version_locations", f"{ours}\n{folder}")
    return config


def fill(database: Database) -> None:
    """Two health systems with five patients each."""
    for _ in range(2):
        tree = make.tree(clinics=1)
        rows = [row for _ in range(5) for row in make.patient_at(tree.tenant, tree.clinics[0])]
        visits = [make.encounter(row, tree.clinics[0]) for row in rows if isinstance(row, Patient)]
        with database.engine("").begin() as connection:
            make.save(connection, *tree.rows, *rows, *visits)


def counted(database: Database) -> int:
    with database.engine("").begin() as connection:
        return int(connection.execute(text("select n from counted")).scalar_one())


@pytest.fixture
def copied(admin_url: str, worker_id: str, template: str) -> Iterator[Database]:
    """A migrated database of one's own: what a test changes in all rows is seen by no other test."""
    with scratch(admin_url, f"{worker_id}_copied", template) as database:
        yield database


def test_a_data_migration_reaches_all_rows(copied: Database, tmp_path: Path) -> None:
    owner = copied
    fill(owner)
    config = with_revision(owner.owner_url, tmp_path)
    command.upgrade(config, "test")
    with owner.engine("").begin() as connection:
        rows = connection.execute(text("select count(*) from patient")).scalar_one()
    assert counted(owner) == rows >= 10
    command.downgrade(config, "-1")


def test_a_data_migration_of_an_owner_without_bypass_reaches_all_rows(
    plainly_owned: Database, tmp_path: Path
) -> None:
    fill(plainly_owned)
    url = plainly_owned.url(PLAIN_OWNER)
    with psycopg.connect(url) as connection:
        # Outside of a migration FORCE holds for the owner as well: this is what would happen in silence.
        assert connection.execute("update patient set family_name = 'x'").rowcount == 0
    config = with_revision(url, tmp_path)
    command.upgrade(config, "test")
    assert counted(plainly_owned) == 10
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "select count(*) from pg_class where relrowsecurity and not relforcerowsecurity"
        )
        assert left.fetchone() == (0,)
    command.downgrade(config, "-1")


def test_an_index_is_made_concurrently_and_the_walls_stand_afterwards(
    plainly_owned: Database, tmp_path: Path
) -> None:
    url = plainly_owned.url(PLAIN_OWNER)
    config = with_revision(url, tmp_path, INDEX_MIGRATION)
    command.upgrade(config, "test")
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select (select indisvalid from pg_index where indexrelid = 'ix_encounter_test'::regclass),"
            " (select count(*) from pg_class where relrowsecurity and not relforcerowsecurity)"
        )
        assert found.fetchone() == (True, 0)
    command.downgrade(config, "-1")


def test_without_bypass_the_narrow_doors_still_open(plainly_owned: Database) -> None:
    tree = make.tree(clinics=1)
    who, *sites = make.patient_at(tree.tenant, tree.clinics[0], mrn="77", family_name="Ito")
    with plainly_owned.engine("").begin() as connection:
        make.save(connection, *tree.rows, who, *sites)
    with psycopg.connect(plainly_owned.app_url) as app:
        tenant = tree.tenant.tenant_id
        app.execute("select set_config('app.tenant', %s, true)", [str(tenant)])
        app.execute("select set_config('app.write_patient', '*', true)")
        found = app.execute(
            "select find_for_admission(%s, %s, '77', '1980-05-17', 'ito')",
            [tenant, tree.clinics[0].id],
        ).fetchone()
        assert isinstance(who, Patient)
        assert found == (who.id,)


def test_without_bypass_the_doors_of_billing_open_too(plainly_owned: Database) -> None:
    """A paid invoice is balanced, a late entry counts on the next day, a visit's charge is struck out, a line follows."""
    tree = make.tree(clinics=1)
    who, *sites = make.patient_at(tree.tenant, tree.clinics[0])
    assert isinstance(who, Patient)
    clinic, tenant = tree.clinics[0], tree.tenant.tenant_id
    bill = make.invoice(who, clinic, total_minor=5_000)
    line = make.invoice_line(bill, unit_price_minor=5_000, amount_minor=5_000)
    visit, paid = make.encounter(who, clinic), make.posting(who, clinic)
    charge = make.charge(who, clinic, encounter_id=visit.id)
    rows = [*tree.rows, who, *sites, bill, line, visit, charge, paid, make.daily_close(clinic)]
    with plainly_owned.engine("").begin() as connection:
        make.save(connection, *rows, make.allocation(paid, line))
    with psycopg.connect(plainly_owned.app_url) as app:
        settings = ("write_posting", "write_encounter", "write_invoice", "scope_invoice")
        for name, value in (("tenant", str(tenant)), *((name, "*") for name in settings)):
            app.execute("select set_config(%s, %s, true)", [f"app.{name}", value])

        def told(statement: str, *values: object) -> object:
            found = app.execute(statement, [tenant, *values]).fetchone()
            return found and found[0]

        assert told("select settle_invoices(%s, %s, %s)", clinic.id, who.id) == 1
        assert told("select state from invoice where tenant_id = %s") == "balanced"
        moment = told("select open_moment(%s, %s, %s)", clinic.id, make.NOW)
        assert moment == make.NOW.replace(hour=6) + dt.timedelta(days=1)
        assert told("select strike_charges(%s, %s)", visit.id) == [charge.id]
        app.execute(
            "update invoice set state = 'cancelled', cancelled_at = now(), cancel_reason = 'x'"
        )
        assert told("select live from invoice_line where tenant_id = %s") is False


def test_without_bypass_the_next_months_are_made_all_the_same(plainly_owned: Database) -> None:
    """Rows that wait in the default partition are moved, not overlooked."""
    late = make.now() + dt.timedelta(days=300)
    values = {"id": new_id(), "recorded_at": late, "action": "a", "outcome": "done"}
    event = AuditEvent(tenant_id=new_id(), **values)
    with plainly_owned.engine("").begin() as connection:
        make.save(connection, event)
    with psycopg.connect(plainly_owned.worker_url) as worker:
        assert worker.execute("select make_audit_partitions(12)").fetchone() == (9,)
    with plainly_owned.engine("").begin() as connection:
        place = connection.scalar(text("select tableoid::regclass::text from audit_event"))
    assert place == f"audit_event_{late:%Y_%m}"


@pytest.mark.slow
def test_a_busy_table_is_not_waited_for_long(empty_database: Database) -> None:
    """A migration that waits for a lock makes every later query wait behind it."""
    url = empty_database.owner_url
    run.upgrade(url)
    with psycopg.connect(url) as clinic:
        clinic.execute("lock table patient in access share mode")
        with pytest.raises(DBAPIError, match="lock timeout"):
            run.downgrade(CELL, url, "base")
    run.check(CELL, url)
