"""Keycloak as a part of the stack: one process on loopback, its data in the stack's PostgreSQL."""

import hashlib
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from dev import java, keycloak_home, ports, processes
from dev.commands import Commands
from dev.databases import prepare_one
from dev.faults import Fault, told
from dev.folder import Folder
from dev.keycloak_admin import BOOTSTRAP, PROVISIONER, ensure_provisioner
from dev.keycloak_home import Say, silent
from dev.state import State, secret

DATABASE = "keycloak"
PATIENCE = 180
HEAP = "-Xms64m -Xmx256m"


class Keycloak:
    """One server of this stack's own. Its port is part of every issuer, so it never moves by itself."""

    name = "Keycloak"

    def __init__(self, folder: Folder, programs: Folder, state: State, commands: Commands) -> None:
        self.folder, self.programs, self.state, self.commands = folder, programs, state, commands

    @property
    def url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.state.get('keycloak', 'port')}"

    @property
    def client(self) -> tuple[str, str]:
        """Id and secret of the master realm's client that may create realms."""
        return PROVISIONER, str(self.state.get("keycloak", "provisioner_secret"))

    @property
    def _note(self) -> Path:
        return self.folder.root / "keycloak.pid"

    def pid(self) -> int | None:
        """The leader of the server's process group, while any of the group lives."""
        found = processes.noted(self._note).get("pid")
        if not isinstance(found, int):
            return None
        if processes.recall(self._note) == found:
            return found
        # The script that started Java may be gone: Java lives on in its group.
        members = processes.group(found)
        return found if any(self._is_java(pid) for pid in members) else None

    def _is_java(self, pid: int) -> bool:
        return "QuarkusEntryPoint" in " ".join(processes.command(pid))

    def start(self, admin_url: str, say: Say = silent) -> bool:
        """Make it run and ready; whether this call started it. Raises Fault, Stopped."""
        with self.folder.locked("keycloak"), told(self.folder.data):
            home = keycloak_home.ready(self.programs, self.commands, say)
            settings = self._settings(admin_url)
            if self._serves(settings):
                return False
            self._stop()
            say("making its database")
            self._database(admin_url)
            say("starting")
            process = self._launch(home, settings)
            self._await_ready(process)
            say("making the client that creates realms")
            ensure_provisioner(
                self.url,
                self.state.drawn("keycloak", "bootstrap_secret", draw=secret),
                self.state.drawn("keycloak", "provisioner_secret", draw=secret),
            )
            return True

    def stop(self) -> None:
        """Stop it if it runs."""
        with self.folder.locked("keycloak"):
            self._stop()

    def _stop(self) -> None:
        if pid := self.pid():
            processes.end_group(pid)
        self._note.unlink(missing_ok=True)

    def _settings(self, admin_url: str) -> dict[str, str]:
        """Everything that a start depends on, as environment variables."""
        parts = urlsplit(admin_url)
        query = f"?{parts.query}" if parts.query else ""
        return {
            "KC_DB_URL": f"jdbc:postgresql://{parts.hostname}:{parts.port or 5432}/{DATABASE}{query}",
            "KC_DB_USERNAME": DATABASE,
            "KC_DB_PASSWORD": self.state.drawn("keycloak", "database_password", draw=secret),
            "KC_BOOTSTRAP_ADMIN_CLIENT_ID": BOOTSTRAP,
            "KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": self.state.drawn(
                "keycloak", "bootstrap_secret", draw=secret
            ),
            "JAVA_OPTS_KC_HEAP": HEAP,
            "JAVA_OPTS_APPEND": f"{java.SERVING} -Djava.io.tmpdir={self.folder.own('tmp')}"
            " -Dliquibase.analytics.enabled=false",
        }

    def _database(self, admin_url: str) -> None:
        password = self.state.drawn("keycloak", "database_password", draw=secret)
        prepare_one(admin_url, DATABASE, DATABASE, password)

    def _serves(self, settings: dict[str, str]) -> bool:
        """Whether it runs with exactly these settings and is ready."""
        noted = processes.noted(self._note)
        if self.pid() is None or noted.get("settings") != _mark(settings):
            return False
        return self._healthy() and bool(self.state.get("keycloak", "provisioner_secret"))

    def _port(self, name: str) -> int:
        port = self.state.get("keycloak", name)
        if isinstance(port, int) and name == "port" and not ports.is_free(port):
            raise Fault(
                f"Port {port}, which is part of this Keycloak's address, is taken by {ports.holder(port)}: end"
                " that, or run `make clean` to start over on another port."
            )
        return ports.kept(self.state, "keycloak", name)

    def _launch(self, home: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
        port, management = self._port("port"), self._port("management_port")
        runtime = java.home(self.programs, self.commands)
        arguments = [
            "start",
            "--optimized",
            # Has to be said here: at build time it is ignored, and a cluster port opens on all interfaces.
            "--cache=local",
            "--http-enabled=true",
            f"--http-host={ports.LOOPBACK}",
            f"--http-port={port}",
            f"--http-management-port={management}",
            # One issuer, whatever name of the machine a request came by.
            f"--hostname=http://{ports.LOOPBACK}:{port}",
            "--db-pool-max-size=30",
        ]
        account = self.folder.account
        ids = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
        log = self.folder.log("keycloak")
        with log.open("wb") as output:
            process = subprocess.Popen(  # type: ignore[call-overload]  # ids differ in type, all are right
                [str(home / "bin" / "kc.sh"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.commands.environment(JAVA_HOME=str(runtime), **settings),
                cwd=self.folder.data,
                start_new_session=True,
                **ids,
            )
        processes.note(self._note, process.pid, settings=_mark(settings))
        return process  # type: ignore[no-any-return]  # the overload above is lost

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        log, deadline = self.folder.log("keycloak"), time.monotonic() + PATIENCE
        try:
            while not self._healthy():
                if process.poll() is not None:
                    raise Fault("Keycloak ended while it started; the end of its log:", log)
                if time.monotonic() > deadline:
                    raise Fault(f"Keycloak was not ready after {PATIENCE} s; its log ends:", log)
                self.commands.pause(0.1)
        except BaseException:
            self._stop()
            raise
        # From here on it is a daemon that outlives us; its note says that it runs, and nobody waits for it.
        process.returncode = 0

    def _healthy(self) -> bool:
        port = self.state.get("keycloak", "management_port")
        return isinstance(port, int) and ports.answers(port, "/health/ready")


def _mark(settings: dict[str, str]) -> str:
    """Names settings without telling the secrets in them."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(settings.items()))
    return hashlib.sha256(text.encode()).hexdigest()
