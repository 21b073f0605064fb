"""The command line: it finds its commands, and says in one sentence what does not work."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import api.cli
import api.commands
from api.cli import Commands, loaded


def caretree(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith("CARETREE_")}
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        capture_output=True,
        text=True,
        env=ours | {"COLUMNS": "120", "NO_COLOR": "1"} | environment,
        cwd=Path(api.__file__).parent.parent,
        timeout=60,
        check=False,
    )


@dataclass(frozen=True)
class Told:
    """What a command said here, in this process: to import all of it again in one of its own takes two seconds."""

    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Runs the command line in this process, with no setting in its environment but those given."""
    for name in os.environ:
        if name.startswith("CARETREE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str, **environment: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["caretree", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            api.cli.main()
        return Told(ended.value.code, *capsys.readouterr())

    return run


def test_every_module_is_a_command() -> None:
    group = Commands()
    modules = [p.stem for p in Path(api.commands.__path__[0]).glob("[a-z]*.py")]
    assert {"serve", "worker", "migrate", "schema", "tenant"} <= set(modules)
    for name in modules:
        command = name.rstrip("_").replace("_", "-")
        assert command in group.list_commands(None)
        assert group.get_command(None, command).name == loaded(command).name == command
        module = sys.modules[f"api.commands.{name}"]
        assert getattr(module, "NAME", None) == command
    assert group.get_command(None, "nope") is None


def test_help_tells_of_each_command(here: Callable[..., Told]) -> None:
    told = here("--help")
    assert told.returncode == 0
    for name in Commands().list_commands(None):
        assert re.search(rf" {name} +[A-Z][a-z]", told.stdout), name


def test_help_imports_no_command() -> None:
    show = "print(*[m for m in sys.modules if m.startswith(('api.commands.', 'identity', 'sqlalchemy', 'dev.cli'))])"
    lines = (
        "import sys, api.cli",
        "sys.argv[1:] = ['--help']",
        "try: api.cli.main()",
        "finally: " + show,
    )
    told = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert told.stdout.endswith("╯\n\n\n")


def test_a_missing_setting_is_one_sentence(here: Callable[..., Told]) -> None:
    for command in ("serve", "worker", "migrate"):
        told = here(command)
        assert told.returncode == 1
        assert told.stderr.startswith("CARETREE_")
        assert told.stderr.count("\n") == 1


def test_an_unreachable_database_is_one_sentence() -> None:
    url = "postgresql://owner:secret@127.0.0.1:1/cell"
    told = caretree("migrate", CARETREE_OWNER_DATABASE_URL=url)
    assert told.returncode == 1
    assert told.stderr == "The database of CARETREE_OWNER_DATABASE_URL cannot be reached.\n"


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    given = {
        "CARETREE_DATABASE_URL": "postgresql://app@127.0.0.1:1/cell",
        "CARETREE_KEY_FILE": str(tmp_path / "keys.json"),
    }
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        told = caretree("serve", "--port", port, **given)
    assert told.returncode == 1
    assert told.stderr == f"127.0.0.1:{port} is taken by another process.\n"


def test_what_nobody_foresaw_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("Jane Roe")

    monkeypatch.setattr(api.cli, "app", broken)
    with pytest.raises(SystemExit) as ended:
        api.cli.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("This did not work: RuntimeError in broken (")
    assert "Jane" not in told


def test_an_unknown_setting_stops_every_command(here: Callable[..., Told]) -> None:
    told = here("serve", CARETREE_DATABASE_URI="postgresql://app:secret@db/cell")
    assert told.returncode == 1
    assert told.stderr == "Unknown settings in the environment: CARETREE_DATABASE_URI.\n"


def test_an_unknown_command(here: Callable[..., Told]) -> None:
    assert here("nope").returncode == 2
