"""The ground of all tests: real servers, a migrated database for each worker, no way out but loopback."""

import gc
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from dev import servers
from tests import database as databases
from tests.database import Database

OPEN = frozenset({"localhost", ""})
LONGEST = (
    "tests/oracle/test_mutations.py",
    "tests/oracle/test_fuzz.py",
    "tests/identity/test_upgrades.py",
    "tests/identity/test_keycloak_faults.py",
    "tests/identity/test_cuts_inside.py",
    "tests/identity/test_second_factors.py",
    "tests/identity/test_housekeeping.py",
    "tests/domain/imports/test_synthea.py",
    "tests/domain/test_books.py",
    "tests/demo/test_seed.py",
)
"""Few tests that take minutes. They begin first: at the end one process would run them while the others wait."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: no round of garbage collection looks through it, now or later.

    Of the time that collecting ten thousand tests took, more than a third went into such rounds; of what follows, a
    seventh, where rounds begin as often as Python is set to.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()  # and the little garbage that there is: to look for it first takes half a second
        gc.set_threshold(5000, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole modules in turn, the longest first, then by how many tests they hold."""
    files = {item: item.nodeid.partition("::")[0] for item in items}
    sizes = Counter(files.values())
    items.sort(key=lambda item: (files[item] not in LONGEST, -sizes[files[item]], files[item]))


@pytest.fixture(scope="session", autouse=True)
def _only_loopback() -> Iterator[None]:
    """A test that talks to another machine fails; connecting there is refused before anything is sent."""
    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, guarded(getattr(socket.socket, method)))
        yield


def guarded(connect: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    """Connecting, but to this machine only."""

    def connect_here(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
            raise PermissionError("Tests may connect to this machine only.")
        return connect(self, address)

    return connect_here


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by name or number."""
    try:
        return host in OPEN or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def admin_url() -> str:
    """An administrator's URL of a PostgreSQL 18 server with the roles of ours."""
    url = os.environ.get("DATABASE_URL") or servers.ensure().database_url
    databases.prepare_roles(url)
    return url


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis (Valkey) server. Tests share it: use keys of your own."""
    return os.environ.get("REDIS_URL") or servers.ensure().redis_url


@pytest.fixture(scope="session")
def template(admin_url: str) -> str:
    """The migrated database that others are copied from."""
    return databases.template(admin_url)


@pytest.fixture(scope="session")
def worker_id() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def database(admin_url: str, template: str, worker_id: str) -> Iterator[Database]:
    """This worker's database. Tests share it: what one commits belongs to a health system of its own."""
    with databases.scratch(admin_url, worker_id, template) as copy:
        yield copy


@pytest.fixture
def empty_database(admin_url: str, worker_id: str) -> Iterator[Database]:
    """A database without any table of ours, for tests of migrations."""
    with databases.scratch(admin_url, f"{worker_id}_empty") as bare:
        yield bare


@pytest.fixture(scope="session")
def database_url(database: Database) -> str:
    """The owner's libpq URL."""
    return database.owner_url


@pytest.fixture(scope="session")
def app_url(database: Database) -> str:
    """The libpq URL by which the application connects."""
    return database.app_url


@pytest.fixture
def owner(database: Database) -> Iterator[Connection]:
    """The owner's connection in a transaction that is rolled back."""
    with database.owner_engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def app(database: Database) -> Iterator[Connection]:
    """The application's connection in a transaction that is rolled back. It sees what is committed."""
    engine = database.engine("caretree_app")
    with engine.connect() as connection:
        yield connection
        connection.rollback()
    engine.dispose()


@pytest.fixture
async def app_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The application's engine. What it commits stays until the end of the run."""
    engine = database.async_engine("caretree_app")
    yield engine
    await engine.dispose()


@pytest.fixture
async def platform_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The platform's engine: the application's rights, and what only the platform says of a health system."""
    engine = database.async_engine("caretree_platform")
    yield engine
    await engine.dispose()


@pytest.fixture
async def owner_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The owner's engine, exempt from row-level security."""
    engine = database.async_engine("caretree_owner")
    yield engine
    await engine.dispose()


@pytest.fixture
async def owner_session(owner_engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """The owner's session in a transaction that is rolled back."""
    async with AsyncSession(owner_engine, expire_on_commit=False) as session:
        yield session
        await session.rollback()
