"""The product's own processes on this stack: which commands they are, and what their environment says."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dev import databases, ports
from dev.commands import Failed
from dev.faults import Fault
from dev.keycloak_home import Say
from dev.servers import Stack

PREFIX = "CARETREE_"
DATABASE = "caretree"
DEFAULT_PORT = 8000
PLATFORM_PORT = 8100
# Where the state keeps the health systems: issuer and tenant id by slug.
SYSTEMS = "systems"
# And where operators log in.
OPERATORS = ("operators", "issuer")
# Where the portal's own development server would be; logins come back there. Not part of this repository.
PORTAL_URL = "http://localhost:3000"
CARETREE = Path(sys.executable).with_name("caretree")
API = "api"
WORKER = "worker"
PLATFORM = "platform"


@dataclass(frozen=True)
class Product:
    """The product on a stack whose servers run."""

    stack: Stack

    @property
    def url(self) -> str:
        """The API's address, as browsers and the demo world know it."""
        return f"http://localhost:{self.stack.state.get('api', 'port') or DEFAULT_PORT}"

    @property
    def platform_url(self) -> str:
        """The operators' own API."""
        return f"http://localhost:{self.stack.state.get(PLATFORM, 'port') or PLATFORM_PORT}"

    @property
    def moved(self) -> bool:
        """Whether the API is on another port though none was told."""
        port = self.stack.state.get("api", "port") or DEFAULT_PORT
        return port != DEFAULT_PORT and not os.environ.get("CARETREE_PORT")

    def urls(self) -> databases.DatabaseUrls:
        """The database as each role sees it; roles and database are made if they are not there. Raises Fault."""
        passwords = databases.kept_passwords(self.stack.state)
        return databases.prepare(self.stack.database_url, DATABASE, passwords)

    def settings(self) -> dict[str, str]:
        """Every setting of the product on this stack."""
        urls, (client, secret) = self.urls(), self.stack.keycloak_client
        return {
            "CARETREE_ENVIRONMENT": "development",
            "CARETREE_DATABASE_URL": urls.app,
            "CARETREE_OWNER_DATABASE_URL": urls.owner,
            "CARETREE_WORKER_DATABASE_URL": urls.worker,
            "CARETREE_AUDIT_DATABASE_URL": urls.audit,
            "CARETREE_PLATFORM_DATABASE_URL": urls.platform,
            "CARETREE_REDIS_URL": self.stack.redis_url,
            "CARETREE_KEYCLOAK_URL": self.stack.keycloak_url,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_ID": client,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_SECRET": secret,
            "CARETREE_KEY_FILE": str(self.stack.folder.root / "keys.json"),
            "CARETREE_PUBLIC_URL": self.url,
            "CARETREE_PORTAL_URL": PORTAL_URL,
            "CARETREE_EXPORT_FOLDER": str(self.stack.folder.root / "exports"),
        }

    def migrate(self) -> str:
        """Bring the database up to this version. Raises Fault, Stopped."""
        urls = self.urls()
        self._run(["migrate"], {"CARETREE_OWNER_DATABASE_URL": urls.owner}, "The migrations failed")
        return "at the newest version"

    def seed(self, say: Say) -> str:
        """Make the demo world, or what is missing of it. Raises Fault, Stopped."""
        said = self._run(
            ["dev", "seed", str(self.stack.folder.root)],
            self.settings(),
            "The demo world could not be made",
            say,
        )
        return (said.strip().splitlines() or ["there"])[-1]

    def _run(
        self, command: list[str], settings: Mapping[str, str], what: str, say: Say | None = None
    ) -> str:
        log = self.stack.folder.root / f"{'-'.join(command[:2])}.log"
        try:
            return self.stack.commands.run(
                [CARETREE, *command],
                timeout=900,
                env=environment(settings),
                as_we_are=True,
                heard=say,
            )
        except Failed as failed:
            log.write_text(failed.output)
            raise Fault(
                f"{what}; correct what is said here, then run `make up` again:", log
            ) from failed

    def children(
        self, port: int, platform_port: int
    ) -> dict[str, tuple[list[str], dict[str, str]]]:
        """The processes that stay in the foreground: command and environment by name."""
        settings = self.settings()
        owner = {"CARETREE_OWNER_DATABASE_URL", "CARETREE_PLATFORM_DATABASE_URL"}
        owner |= {"CARETREE_EXPORT_FOLDER"}
        cells = {f"CARETREE_{role}DATABASE_URL" for role in ("", "OWNER_", "WORKER_", "AUDIT_")}
        worker = {"CARETREE_WORKER_DATABASE_URL", "CARETREE_KEYCLOAK_ADMIN_CLIENT_SECRET"}
        serving = environment(_without(settings, owner | worker))
        working = environment(_without(settings, owner))
        operating = environment(_without(settings, cells))
        platform = ["platform", "serve", "--port", str(platform_port)]
        return {
            API: ([str(CARETREE), "serve", "--port", str(port)], serving),
            WORKER: ([str(CARETREE), "worker"], working),
            PLATFORM: ([str(CARETREE), *platform], operating),
        }


def _without(settings: Mapping[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if name not in names}


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Our environment with exactly these settings: settings of the stack itself are unknown to the product."""
    left = (PREFIX, "DATABASE_URL", "REDIS_URL", "KEYCLOAK_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left)}
    return {**kept, **settings, "PYTHONUNBUFFERED": "1"}


def api_port(stack: Stack) -> int:
    """The API's port: the one that CARETREE_PORT tells, else 8000, else the one it had, else a free one. Raises Fault."""
    told = os.environ.get("CARETREE_PORT")
    if told:
        if not told.isdigit() or not 0 < int(told) < 65_536:
            raise Fault(
                f"CARETREE_PORT is {told}: set it to a number from 1 to 65535, or unset it."
            )
        if not ports.is_free(int(told)):
            raise Fault(
                f"Port {told} (CARETREE_PORT) is taken by {ports.holder(int(told))}: end that, or"
                " set CARETREE_PORT to another one."
            )
        stack.state.put(int(told), "api", "port")
        return int(told)
    if ports.is_free(DEFAULT_PORT):
        stack.state.put(DEFAULT_PORT, "api", "port")
        return DEFAULT_PORT
    return ports.kept(stack.state, "api", "port")


def platform_port(stack: Stack) -> int:
    """The port of the operators' API: 8100, else the one it had, else a free one."""
    if ports.is_free(PLATFORM_PORT):
        stack.state.put(PLATFORM_PORT, PLATFORM, "port")
        return PLATFORM_PORT
    return ports.kept(stack.state, PLATFORM, "port")
