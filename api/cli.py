"""`caretree …`: the command line. A command is a module of `api/commands` or an entry point of `caretree.commands`.

Only the module of the command that is called is imported. Whatever goes wrong ends in one sentence and exit code 1.
"""

import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import api.commands
from api.settings import PREFIX, SettingsError

GROUP = "caretree.commands"
SETTINGS = "caretree.settings"
problems = Console(stderr=True, highlight=False, soft_wrap=True)


class Commands(TyperGroup):
    """Finds commands by the names of modules and entry points."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (typer calls it so)
        """All names, also of commands whose modules are not imported."""
        plugged = {point.name for point in entry_points(group=GROUP)}
        return sorted(plugged.union(_modules()))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (typer calls it so)
        """The command of that name, None where there is none."""
        module = _modules().get(cmd_name)
        if module is not None:
            return _click(cmd_name, import_module(module))
        for point in entry_points(group=GROUP, name=cmd_name):
            return _named(cmd_name, point.load())
        return None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The backend of a health-SaaS company.",
)


@app.callback()
def _root() -> None:
    """Serve the API, migrate its databases, look after health systems."""


def _modules() -> dict[str, str]:
    """Modules by their commands' names; a name that is a word of Python's ends with an underscore there."""
    found = pkgutil.iter_modules(api.commands.__path__)
    prefix = f"{api.commands.__name__}."
    return {m.name.rstrip("_").replace("_", "-"): prefix + m.name for m in found}


def _click(name: str, module: Any) -> Any:
    return _named(name, getattr(module, "app", None) or module.command)


def _named(name: str, made: typer.Typer | Callable[..., Any]) -> Any:
    if not isinstance(made, typer.Typer):
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command()(made)
        made = single
    command = typer.main.get_command(made)
    command.name = name
    return command


def settle() -> None:
    """Where the environment says nothing at all, take the settings that a development checkout offers."""
    if any(name.upper().startswith(PREFIX) for name in os.environ):
        return
    for point in entry_points(group=SETTINGS):
        os.environ.update(point.load()())


def main() -> None:
    """Run a command as a process does: exit code 0, 1 with a sentence, 2 for a call that cannot be understood."""
    try:
        if sys.argv[1:2] != ["dev"]:
            settle()
        app()
    except SettingsError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__qualname__
        fail(f"This did not work: {kind} in {place.name} ({place.filename}:{place.lineno}).")


def fail(sentence: str) -> None:
    """Say why it did not work, and end."""
    problems.print(sentence, style="red", markup=False)
    sys.exit(1)


if __name__ == "__main__":
    main()
