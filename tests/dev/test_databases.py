"""Roles and databases come to be on any server, and a second call changes nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dev import databases
from dev.faults import Fault
from dev.ports import choose
from dev.servers import Stack, root_of_tests


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A server whose roles nobody else uses."""
    place = root_of_tests() / "places" / "databases"
    made = Stack(place)
    made.postgres.start()
    yield made
    made.stop()
    shutil.rmtree(place)


@pytest.fixture
def admin_url(stack: Stack) -> str:
    return stack.postgres.url


def roles(admin_url: str) -> list[tuple[object, ...]]:
    query = (
        "select a.rolname, a.rolpassword, a.rolbypassrls, a.rolsuper, a.rolcreaterole, a.rolcanlogin, s.setconfig"
        " from pg_authid a left join pg_db_role_setting s on s.setrole = a.oid"
        " where a.rolname like 'caretree_%' order by 1"
    )
    with psycopg.connect(admin_url) as admin:
        return admin.execute(query).fetchall()


def test_each_role_logs_in_with_its_rights_and_settings(admin_url: str) -> None:
    urls = databases.prepare(admin_url, "one", databases.draw_passwords())
    with psycopg.connect(urls.app) as app:
        shown = [app.execute(f"show {name}").fetchone() for name in ("timezone", "plan_cache_mode")]
        assert shown == [("UTC",), ("force_generic_plan",)]
    for url in (urls.owner, urls.app, urls.worker, urls.audit, urls.platform):
        with psycopg.connect(url) as connection:
            assert connection.info.dbname == "one"
    found = {str(row[0]): row[2:6] for row in roles(admin_url)}
    assert found["caretree_owner"] == (True, False, False, True)
    for name in ("caretree_app", "caretree_worker", "caretree_audit", "caretree_platform"):
        assert found[name] == (False, False, False, True)


def test_only_the_owner_makes_tables(admin_url: str) -> None:
    urls = databases.prepare(admin_url, "one", databases.draw_passwords())
    with psycopg.connect(urls.owner) as owner:
        owner.execute("create table t (id int)")
        owner.execute("create extension if not exists btree_gist")
        owner.rollback()
    for url in (urls.app, urls.worker, urls.audit, urls.platform):
        with psycopg.connect(url) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("create table t (id int)")


def test_a_second_call_changes_nothing(admin_url: str) -> None:
    passwords = databases.draw_passwords()
    urls = databases.prepare(admin_url, "two", passwords)
    before = roles(admin_url)
    assert databases.prepare(admin_url, "two", passwords) == urls
    assert roles(admin_url) == before


def test_passwords_that_somebody_changed_are_set_again(admin_url: str) -> None:
    passwords = databases.draw_passwords()
    urls = databases.prepare(admin_url, "two", passwords)
    databases.prepare(admin_url, "two")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(urls.app)
    assert databases.prepare(admin_url, "two", passwords) == urls
    psycopg.connect(urls.app).close()


def test_strangers_do_not_get_into_a_database(admin_url: str) -> None:
    databases.prepare(admin_url, "two", databases.draw_passwords())
    stranger = databases.prepare_one(admin_url, "third", "stranger", "word")
    psycopg.connect(stranger).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(databases.login_url(stranger, "stranger", "word", "two"))


def test_an_administrator_who_is_no_superuser_will_do(admin_url: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("drop database if exists hosted")
        admin.execute("drop role if exists hosting")
        admin.execute("create role hosting login createrole createdb password 'word'")
    urls = databases.prepare_one(
        databases.login_url(admin_url, "hosting", "word"), "hosted", "tenant_of_host", "other"
    )
    psycopg.connect(urls).close()


def test_one_who_may_nothing_is_a_sentence(admin_url: str) -> None:
    url = databases.prepare_one(admin_url, "third", "stranger", "word")
    with pytest.raises(Fault, match="CREATEROLE"):
        databases.prepare(url, "four", databases.draw_passwords())


def test_a_server_that_is_not_there_is_a_sentence_without_the_password() -> None:
    with pytest.raises(Fault, match="DATABASE_URL") as fault:
        databases.prepare(f"postgresql://admin:word@127.0.0.1:{choose()}/postgres", "one")
    assert "word" not in fault.value.sentence


@pytest.mark.parametrize("version", [90_600, 170_004])
def test_a_server_that_is_too_old_is_a_sentence(version: int) -> None:
    with pytest.raises(Fault, match="needs 18 or newer"):
        databases._new_enough(version)


def test_urls_keep_what_the_administrator_said(tmp_path: Path) -> None:
    url = databases.login_url(
        "postgresql://a:b@db.example:5433/x?sslmode=require", "r", "p/@:", "n"
    )
    assert url == "postgresql://r:p%2F%40%3A@db.example:5433/n?sslmode=require"
