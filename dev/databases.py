"""Roles and databases on any PostgreSQL 18 to which an administrator's URL is given."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from dev.faults import Fault
from dev.state import State, secret

FLOOR = 180_000
LOCK = 7_265_011
ROLES: Mapping[str, str] = {
    "caretree_owner": "bypassrls",
    "caretree_app": "nobypassrls",
    "caretree_worker": "nobypassrls",
    "caretree_audit": "nobypassrls",
    "caretree_platform": "nobypassrls",
}
MEMBERS: Mapping[str, tuple[str, ...]] = {"caretree_platform": ("caretree_app", "caretree_worker")}
"""Role -> the roles whose rights it has besides its own."""
PLAIN = "login nosuperuser nocreaterole nocreatedb noreplication"
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "caretree_app": {"timezone": "UTC", "plan_cache_mode": "force_generic_plan"},
    "caretree_owner": {"timezone": "UTC"},
    "caretree_worker": {"timezone": "UTC"},
    "caretree_audit": {"timezone": "UTC"},
    "caretree_platform": {"timezone": "UTC"},
}

Passwords = Mapping[str, str]
Admin = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class DatabaseUrls:
    """One database as each of the product's roles logs in to it (libpq URLs with passwords)."""

    owner: str = field(repr=False)
    app: str = field(repr=False)
    worker: str = field(repr=False)
    audit: str = field(repr=False)
    platform: str = field(repr=False)


def draw_passwords() -> dict[str, str]:
    """A new password for each role."""
    return {role: secret() for role in ROLES}


def kept_passwords(state: State) -> dict[str, str]:
    """The passwords of the stack's roles, each drawn once: a role that is new has none yet."""
    return {role: state.drawn("database", "passwords", role, draw=secret) for role in ROLES}


def prepare(admin_url: str, name: str, passwords: Passwords | None = None) -> DatabaseUrls:
    """Make the roles and the database `name` if they are not there; whatever is right already stays as it is.

    Roles belong to the whole server: without `passwords` new ones are set, and whoever knew the old ones is locked
    out. Raises Fault when the server is missing, too old, or refuses the administrator.
    """
    given = passwords or draw_passwords()
    with administrator(admin_url) as admin:
        for role in ROLES:
            _role(admin, role)
            if passwords is None or not _logs_in(login_url(admin_url, role, given[role])):
                _set_password(admin, role, given[role])
        make_database(admin, name, "caretree_owner")
        grant = sql.SQL("grant connect on database {} to {}").format(
            sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, ROLES))
        )
        admin.execute(grant)
    urls = {role: login_url(admin_url, role, given[role], name) for role in ROLES}
    return DatabaseUrls(**{role.removeprefix("caretree_"): url for role, url in urls.items()})


def prepare_one(admin_url: str, name: str, role: str, password: str) -> str:
    """A database with one role that owns it, for a server of the stack that keeps its own data there (Keycloak)."""
    with administrator(admin_url) as admin:
        if not _exists(admin, "pg_roles", "rolname", role):
            _execute(admin, f"create role {{}} {PLAIN}", role)
        if not _logs_in(login_url(admin_url, role, password)):
            _set_password(admin, role, password)
        make_database(admin, name, role)
    return login_url(admin_url, role, password, name)


@contextmanager
def administrator(admin_url: str) -> Iterator[Admin]:
    """A connection that holds the lock for making roles and databases. Raises Fault."""
    try:
        admin = psycopg.connect(admin_url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Fault(
            "PostgreSQL does not answer at the administrator's URL (DATABASE_URL, if you set it):"
            f" {str(error).strip().splitlines()[0]}"
        ) from None
    with admin:
        _new_enough(admin.info.server_version)
        try:
            admin.execute("select pg_advisory_lock(%s)", [LOCK])
            yield admin
        except psycopg.errors.InsufficientPrivilege as error:
            raise Fault(
                "The account of DATABASE_URL may not make roles and databases: give it CREATEROLE and"
                f" CREATEDB, or use another one ({error.diag.message_primary})."
            ) from None


def _new_enough(version: int) -> None:
    if version < FLOOR:
        raise Fault(
            f"DATABASE_URL leads to PostgreSQL {version // 10_000}, and Caretree needs 18 or newer:"
            " unset it to use the embedded server, or point it to a newer one."
        )


def login_url(admin_url: str, role: str, password: str, name: str | None = None) -> str:
    """The administrator's URL with another login and, if given, another database."""
    parts = urlsplit(admin_url)
    host = parts.netloc.rpartition("@")[2]
    path = parts.path if name is None else f"/{quote(name)}"
    netloc = f"{quote(role)}:{quote(password, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc, path=path))


def make_database(admin: Admin, name: str, owner: str) -> None:
    """A database of that owner, closed to everybody whom nothing was granted."""
    if not _exists(admin, "pg_database", "datname", name):
        _belong(admin, owner)
        _execute(
            admin, "create database {} owner {} template template0 encoding 'UTF8'", name, owner
        )
    _execute(admin, "revoke all on database {} from public", name)


def drop_database(admin_url: str, name: str) -> None:
    """Drop a database if it is there, whoever is connected."""
    with administrator(admin_url) as admin:
        _execute(admin, "drop database if exists {} with (force)", name)


def _role(admin: Admin, role: str) -> None:
    if not _exists(admin, "pg_roles", "rolname", role):
        try:
            _execute(admin, f"create role {{}} {PLAIN} {ROLES[role]}", role)
        except psycopg.errors.InsufficientPrivilege:
            # Many hosted servers let nobody give BYPASSRLS; migrations then lift FORCE inside their transaction.
            _execute(admin, f"create role {{}} {PLAIN}", role)
    for group in MEMBERS.get(role, ()):
        member = admin.execute("select pg_has_role(%s, %s, 'usage')", [role, group]).fetchone()
        if member != (True,):
            _execute(admin, "grant {} to {}", group, role)
    row = admin.execute("select rolconfig from pg_roles where rolname = %s", [role]).fetchone()
    present = row[0] if row and isinstance(row[0], list) else []
    lower = {str(setting).lower() for setting in present}
    for setting, value in SETTINGS.get(role, {}).items():
        if f"{setting}={value}".lower() not in lower:
            _execute(admin, f"alter role {{}} set {setting} = '{value}'", role)


def _belong(admin: Admin, owner: str) -> None:
    """Whoever is no superuser makes databases only for roles that they are a member of."""
    member = admin.execute("select pg_has_role(current_user, %s, 'SET')", [owner]).fetchone()
    if member != (True,):
        _execute(admin, "grant {} to current_user with set true", owner)


def _set_password(admin: Admin, role: str, password: str) -> None:
    # Hashed here: the server's log and statistics never see it.
    verifier = admin.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    statement = sql.SQL("alter role {} password {}")
    admin.execute(statement.format(sql.Identifier(role), sql.Literal(verifier.decode())))


def _logs_in(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=10):
            return True
    except psycopg.OperationalError:
        return False


def _exists(admin: Admin, catalog: str, column: str, name: str) -> bool:
    query = sql.SQL("select 1 from {} where {} = %s").format(
        sql.Identifier(catalog), sql.Identifier(column)
    )
    return admin.execute(query, [name]).fetchone() is not None


def _execute(admin: Admin, statement: str, *names: str) -> None:
    admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
