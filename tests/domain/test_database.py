"""What PostgreSQL refuses, told without a value of any row."""

import traceback
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.database import code_of, constraint_of, engine, refusal_of, set_tenant, sqlstate_of
from domain.pipeline_errors import DatabaseError
from identity.provisioning import UserNameTaken
from tests import make
from tests.database import Database

pytestmark = pytest.mark.anyio


NAME = "-".join(["secretive", "sam"])  # in no line of this file as it is told


@pytest.fixture
async def careful(database: Database) -> AsyncIterator[AsyncEngine]:
    made = engine(database.owner_url, application="caretree-test", size=1, overflow=0)
    yield made
    await made.dispose()


async def refused(careful: AsyncEngine, *statements: str, **values: object) -> DBAPIError:
    """The refusal of the last statement."""
    async with careful.connect() as connection:
        for before in statements[:-1]:
            await connection.execute(text(before))
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(text(statements[-1]), values)
    return caught.value


async def taken_name(careful: AsyncEngine, database: Database) -> DBAPIError:
    system = make.tenant()
    make.save(database, system, make.person(system, user_name=NAME))
    async with careful.connect() as connection:
        with pytest.raises(IntegrityError) as caught:
            await make.save_async(connection, make.person(system, user_name=NAME))
    return caught.value


async def test_an_error_quotes_no_row(careful: AsyncEngine, database: Database) -> None:
    error = await taken_name(careful, database)
    told = "".join(traceback.format_exception(error))
    assert "uq_person_tenant_id_user_name" in told
    assert NAME not in told
    assert "already exists" not in told


async def test_an_error_quotes_no_parameter(careful: AsyncEngine) -> None:
    error = await refused(careful, "select cast(:v as uuid)", v=NAME)
    assert NAME not in "".join(traceback.format_exception(error))
    assert (sqlstate_of(error), code_of(error)) == ("22P02", "INVALID")


async def test_a_constraint_stands_for_its_subjects_error(
    careful: AsyncEngine, database: Database
) -> None:
    error = await taken_name(careful, database)
    assert constraint_of(error) == "uq_person_tenant_id_user_name"
    assert code_of(error) == "USER_NAME_TAKEN"
    assert isinstance(refusal_of(error), UserNameTaken)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("insert into tenant (tenant_id, slug, name, currency) values (gen_random_uuid(), 's', 'n', '?')", "INVALID"),
        ("insert into counter (tenant_id, name) values (gen_random_uuid(), 'mrn')", "NOT_FOUND"),
        ("insert into tenant (tenant_id) values (gen_random_uuid())", "INVALID"),
        ("set local statement_timeout = 1; select pg_sleep(5)", "TRY_AGAIN"),
        ("set local role caretree_audit; select * from patient", "FORBIDDEN"),
        ("select 1 from nothing_of_this_name", None),
    ],
)  # fmt: skip
async def test_other_refusals_have_a_code_by_their_kind(
    careful: AsyncEngine, statement: str, code: str | None
) -> None:
    error = await refused(careful, *statement.split("; "))
    assert code_of(error) == code
    assert refusal_of(error) is None


def test_the_suffix_of_a_shard_is_taken_off() -> None:
    error = DatabaseError("23P01", "ex_appointment_block_slot_102008")
    assert constraint_of(error) == "ex_appointment_block_slot"
    assert code_of(DatabaseError("23505", "uq_person_tenant_id_user_name_7")) == UserNameTaken.code


def test_an_error_that_is_not_the_databases_has_no_code() -> None:
    assert code_of(ValueError("x")) is None
    assert constraint_of(psycopg.OperationalError("x")) is None


async def test_the_tenant_lasts_for_one_transaction(
    careful: AsyncEngine, database: Database
) -> None:
    system = make.tenant()
    asked = text("select current_setting('app.tenant', true)")
    async with careful.begin() as connection:
        await set_tenant(connection, system.tenant_id)
        assert await connection.scalar(asked) == str(system.tenant_id)
    async with careful.begin() as connection:
        assert await connection.scalar(asked) == ""


async def test_the_server_sees_who_is_connected(careful: AsyncEngine) -> None:
    async with careful.connect() as connection:
        assert await connection.scalar(text("show application_name")) == "caretree-test"
