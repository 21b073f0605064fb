"""A migrated database for the tests: one template for each state of the migrations, one copy for each worker.

The server is the one at DATABASE_URL (an administrator's URL), else the embedded one of the development stack.
Tests connect as the administrator and take on a role of ours at connecting, so that no password is needed;
row-level security and grants look at the role taken on.
"""

import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from sqlalchemy import Engine, create_engine, pool
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from migrations import run

ROOT = Path(__file__).parent.parent
ROLES = {
    "caretree_owner": "bypassrls",
    "caretree_app": "nobypassrls",
    "caretree_worker": "nobypassrls",
    "caretree_audit": "nobypassrls",
    "caretree_platform": "nobypassrls in role caretree_app, caretree_worker",
}
# What the roles have as their own settings on a prepared server; a role taken on does not bring them along.
SETTINGS = {"caretree_app": ("plan_cache_mode=force_generic_plan",)}
PREFIX = "caretree_test_"
LOCK = 7_265_010


@dataclass(frozen=True)
class Database:
    """One database of the test server, as each of the roles sees it."""

    admin_url: str = field(repr=False)
    name: str

    def url(self, role: str = "", *settings: str) -> str:
        """A libpq URL. Without a role: the administrator's."""
        options = [f"role={role}"] if role else []
        options += ["timezone=UTC", *SETTINGS.get(role, ()), *settings]
        parts = urlsplit(self.admin_url)
        text = quote(" ".join(f"-c {option}" for option in options))
        return urlunsplit(parts._replace(path=f"/{self.name}", query=f"options={text}"))

    @property
    def owner_url(self) -> str:
        return self.url("caretree_owner")

    @property
    def app_url(self) -> str:
        return self.url("caretree_app")

    @property
    def worker_url(self) -> str:
        return self.url("caretree_worker")

    @property
    def audit_url(self) -> str:
        return self.url("caretree_audit")

    @property
    def platform_url(self) -> str:
        return self.url("caretree_platform")

    def engine(self, role: str) -> Engine:
        """A synchronous engine whose connections end with their use."""
        return create_engine(sqlalchemy_url(self.url(role)), poolclass=pool.NullPool)

    def async_engine(self, role: str) -> AsyncEngine:
        """An engine for asyncio that keeps a few connections until it is disposed of: each new one costs 10 ms."""
        return create_async_engine(sqlalchemy_url(self.url(role)), pool_size=3, max_overflow=-1)

    @cached_property
    def owner_engine(self) -> Engine:
        """An engine that keeps a connection until `close`."""
        return create_engine(
            sqlalchemy_url(self.url("caretree_owner")), pool_size=1, max_overflow=-1
        )

    def close(self) -> None:
        """End what the owner's engine keeps."""
        if "owner_engine" in self.__dict__:
            self.owner_engine.dispose()


def sqlalchemy_url(url: str) -> str:
    """The same URL for SQLAlchemy over psycopg."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def prepare_roles(admin_url: str) -> None:
    """Make the roles of ours that the server has not yet."""
    with psycopg.connect(admin_url, autocommit=True) as admin, locked(admin):
        rows = admin.execute("select rolname from pg_roles").fetchall()
        for role, attribute in ROLES.items():
            if (role,) not in rows:
                admin.execute(
                    sql.SQL("create role {} login {}").format(
                        sql.Identifier(role), sql.SQL(attribute)
                    )
                )


@contextmanager
def locked(admin: psycopg.Connection) -> Iterator[None]:
    """One at a time among all workers of all test runs on the server."""
    admin.execute("select pg_advisory_lock(%s)", [LOCK])
    try:
        yield
    finally:
        admin.execute("select pg_advisory_unlock(%s)", [LOCK])


def fingerprint() -> str:
    """Names the state of the migrations; another state gets another template."""
    digest = hashlib.sha256(version("procrastinate").encode())
    for path in sorted((ROOT / "migrations").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def template(admin_url: str) -> str:
    """The name of the template of these migrations, migrated now if it is not there."""
    name = f"{PREFIX}template_{fingerprint()}"
    with psycopg.connect(admin_url, autocommit=True) as admin, locked(admin):
        found = admin.execute("select datistemplate from pg_database where datname = %s", [name])
        if found.fetchone() != (True,):
            drop(admin, name)
            create(admin, name)
            run.upgrade(Database(admin_url, name).owner_url)
            comment = sql.Literal(dt.datetime.now(dt.UTC).date().isoformat())
            identifier = sql.Identifier(name)
            admin.execute(sql.SQL("comment on database {} is {}").format(identifier, comment))
            # Nobody may connect any more: a copy is refused while somebody is connected to its template.
            admin.execute(
                sql.SQL("alter database {} with is_template true allow_connections false").format(
                    identifier
                )
            )
        sweep(admin, name)
    return name


@contextmanager
def scratch(admin_url: str, worker: str, source: str | None = None) -> Iterator[Database]:
    """A database for one worker, copied from the template (`source`), or empty; dropped at the end."""
    name = f"{PREFIX}{os.getpid()}_{worker}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        with locked(admin):
            drop(admin, name)
            create(admin, name, source)
        database = Database(admin_url, name)
        try:
            yield database
        finally:
            database.close()
            drop(admin, name)


def create(admin: psycopg.Connection, name: str, source: str | None = None) -> None:
    """Make a database that belongs to caretree_owner."""
    statement = sql.SQL("create database {} owner caretree_owner template {}")
    admin.execute(statement.format(sql.Identifier(name), sql.Identifier(source or "template1")))


def drop(admin: psycopg.Connection, name: str) -> None:
    """Drop a database of the tests, whoever is still connected."""
    identifier = sql.Identifier(name)
    found = admin.execute("select datistemplate from pg_database where datname = %s", [name])
    if found.fetchone() == (True,):
        admin.execute(sql.SQL("alter database {} with is_template false").format(identifier))
    admin.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))


def sweep(admin: psycopg.Connection, present: str) -> None:
    """Drop what killed runs left: copies whose process is gone, templates of earlier days."""
    rows = admin.execute(
        "select datname, shobj_description(oid, 'pg_database') from pg_database"
        " where starts_with(datname, %s)",
        [PREFIX],
    ).fetchall()
    today = dt.datetime.now(dt.UTC).date().isoformat()
    for name, made in rows:
        owner = name.removeprefix(PREFIX).split("_")[0]
        left = not alive(int(owner)) if owner.isdigit() else (made or today) < today
        if left and name != present:
            drop(admin, name)


def alive(pid: int) -> bool:
    """Whether a process of this machine has the number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
