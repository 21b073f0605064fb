"""The servers of a stack: embedded ones, or those that the environment names."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dev.commands import Commands
from dev.faults import Fault
from dev.folder import CHECKOUT, Folder
from dev.keycloak import Keycloak
from dev.keycloak_home import Say, silent
from dev.postgres import Postgres
from dev.state import State
from dev.valkey import Valkey


@dataclass(frozen=True)
class Servers:
    """Where the servers are. Empty strings for a Keycloak that was not asked for."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    keycloak_url: str = ""
    keycloak_admin_client_id: str = ""
    keycloak_admin_client_secret: str = field(default="", repr=False)


def root() -> Path:
    """The folder of the development stack: CARETREE_HOME, or `.caretree` in the checkout."""
    return Path(os.environ.get("CARETREE_HOME") or CHECKOUT / ".caretree").resolve()


def root_of_tests() -> Path:
    """The folder of the servers that tests use, so that they never touch a running `make up`."""
    return root() / "test"


class Stack:
    """The servers of one folder."""

    def __init__(self, place: Path, programs: Path | None = None) -> None:
        """`programs`: the folder of another stack whose built Keycloak is used as well."""
        self.folder = Folder.open(place)
        self.state = State(place / "state.json")
        self.commands = Commands(self.folder)
        shared = Folder.open(programs) if programs else self.folder
        self.postgres = Postgres(self.folder, self.state, self.commands)
        self.valkey = Valkey(self.folder, self.state, self.commands)
        self.keycloak = Keycloak(self.folder, shared, self.state, self.commands)
        self.all = (self.keycloak, self.valkey, self.postgres)

    @property
    def database_url(self) -> str:
        """The administrator's URL."""
        return os.environ.get("DATABASE_URL") or self.postgres.url

    @property
    def redis_url(self) -> str:
        return os.environ.get("REDIS_URL") or self.valkey.url

    @property
    def keycloak_url(self) -> str:
        return (os.environ.get("KEYCLOAK_URL") or self.keycloak.url).rstrip("/")

    @property
    def keycloak_client(self) -> tuple[str, str]:
        """Id and secret of the client that creates realms. Raises Fault when a given Keycloak comes without."""
        if not os.environ.get("KEYCLOAK_URL"):
            return self.keycloak.client
        client = os.environ.get("KEYCLOAK_ADMIN_CLIENT_ID")
        secret = os.environ.get("KEYCLOAK_ADMIN_CLIENT_SECRET")
        if not client or not secret:
            raise Fault(
                "KEYCLOAK_URL is set: set KEYCLOAK_ADMIN_CLIENT_ID and KEYCLOAK_ADMIN_CLIENT_SECRET too, of a"
                " client of its master realm that holds the role create-realm."
            )
        return client, secret

    def start_postgres(self) -> str:
        """Make PostgreSQL run, unless one is given; a few words about it. Raises Fault, Stopped."""
        if os.environ.get("DATABASE_URL"):
            return "the one at DATABASE_URL"
        return self._words(self.postgres.start(), "postgres")

    def start_valkey(self) -> str:
        """Make Valkey run, unless a server is given; a few words about it. Raises Fault, Stopped."""
        if os.environ.get("REDIS_URL"):
            return "the one at REDIS_URL"
        return self._words(self.valkey.start(), "valkey")

    def start_keycloak(self, say: Say = silent) -> str:
        """Make Keycloak run on the stack's PostgreSQL, unless one is given; a few words about it. Raises Fault, Stopped."""
        if os.environ.get("KEYCLOAK_URL"):
            client, _ = self.keycloak_client
            return f"the one at KEYCLOAK_URL, as {client}"
        return self._words(self.keycloak.start(self.database_url, say), "keycloak")

    def _words(self, started: bool, name: str) -> str:
        return f"port {self.state.get(name, 'port')}{'' if started else ', was running'}"

    def running(self) -> dict[str, int]:
        """The servers of this stack that run, with their processes."""
        found = {server.name: server.pid() for server in self.all}
        return {name: pid for name, pid in found.items() if pid is not None}

    def stop(self, names: Collection[str] | None = None) -> list[str]:
        """Stop the servers (or those with these names), the last in the chain first; answers those that ran."""
        self.commands.resume()
        running = self.running()
        stopped = [s for s in self.all if s.name in running and (names is None or s.name in names)]
        for server in stopped:
            server.stop()
        return [server.name for server in stopped]

    def servers(self, *, keycloak: bool = True) -> Servers:
        """Where they are now. Raises Fault."""
        if not keycloak:
            return Servers(self.database_url, self.redis_url)
        client, secret = self.keycloak_client
        return Servers(self.database_url, self.redis_url, self.keycloak_url, client, secret)


@cache
def stack_of_tests() -> Stack:
    """The stack that tests use; it shares the built Keycloak with the development stack."""
    return Stack(root_of_tests(), programs=root())


def ensure(*, keycloak: bool = False) -> Servers:
    """The servers for tests, started if they do not run; they stay for the next run until `make down`. Raises Fault."""
    stack = stack_of_tests()
    stack.start_postgres()
    stack.start_valkey()
    if keycloak:
        stack.start_keycloak()
    return stack.servers(keycloak=keycloak)
