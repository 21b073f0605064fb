"""Jobs are deferred by the application, in its transactions, and carried out by the worker alone."""

from importlib.resources import files

import procrastinate
import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from tests.database import Database

pytestmark = pytest.mark.anyio

# The last migration that the library's schema held when ours was written (migrations/cell/versions/0007_jobs.py).
# A newer one in the library needs a revision of ours that applies it to databases that have the old schema.
LAST_OF_THE_LIBRARY = "03.04.00_50_post_add_retry_failed_job_procedure.sql"

DEFER = (
    "select procrastinate_defer_jobs_v1(array[row("
    "'identity', 'disable', 0, 'person-1', null, '{\"tenant\": \"t\"}', null)"
    "]::procrastinate_job_to_defer_v1[])"
)


def test_the_librarys_schema_is_the_one_we_know() -> None:
    folder = files("procrastinate").joinpath("sql", "migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    assert names[-1] == LAST_OF_THE_LIBRARY


def test_the_application_defers_and_reads_no_job(app: Connection) -> None:
    assert app.execute(text(DEFER)).scalar_one()
    for act in (
        "select args from procrastinate_jobs",
        "update procrastinate_jobs set status = 'succeeded'",
        "delete from procrastinate_jobs",
        "select * from procrastinate_events",
        "select procrastinate_fetch_job_v2(null, 1)",
    ):
        point = app.begin_nested()
        with pytest.raises(ProgrammingError, match="permission denied"):
            app.execute(text(act))
        point.rollback()


def test_a_job_of_a_failed_command_never_was(database: Database) -> None:
    with psycopg.connect(database.app_url) as app:
        app.execute(DEFER)
        app.rollback()
    with psycopg.connect(database.worker_url) as worker:
        found = worker.execute("select count(*) from procrastinate_jobs where lock = 'person-1'")
        assert found.fetchone() == (0,)


async def test_the_library_itself_works_with_both_roles(database: Database) -> None:
    """Deferred by the application's role, carried out by a real worker with the worker's."""
    done: list[int] = []
    application = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=database.app_url, min_size=1, max_size=2)
    )

    @application.task(name="tests.add", queue="of_these_tests")
    async def add(number: int) -> None:
        done.append(number)

    async with application.open_async():
        await add.defer_async(number=7)
    worker = procrastinate.PsycopgConnector(conninfo=database.worker_url, min_size=1, max_size=4)
    with application.replace_connector(worker) as working:
        async with working.open_async():
            await working.run_worker_async(
                queues=["of_these_tests"], wait=False, install_signal_handlers=False
            )
    assert done == [7]


@pytest.mark.parametrize("role", ["caretree_app", "caretree_worker"])
def test_roles_of_ours_reach_the_registry_as_far_as_they_need(
    database: Database, role: str
) -> None:
    reaches = {
        "control.tenant": {"select"} if role == "caretree_app" else {"select", "insert", "update"},
        "control.identity_cluster": {"select"}
        if role == "caretree_app"
        else {"select", "insert", "update"},
        "control.service_account": set()
        if role == "caretree_app"
        else {"select", "insert", "update"},
    }
    with database.owner_engine.connect() as owner:
        for table, may in reaches.items():
            for privilege in ("select", "insert", "update", "delete", "truncate"):
                asked = text("select has_table_privilege(:r, :t, :p)")
                given = {"r": role, "t": table, "p": privilege}
                assert owner.scalar(asked, given) is (privilege in may), (table, privilege)
