"""`caretree …`: the command line. A command is a module of `api/commands` or an entry point of `caretree.commands`.

Only the module of the command that is called is imported; what help tells of the others is the first line of their
modules. Whatever goes wrong ends in one sentence and exit code 1.
"""

import ast
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

import api.commands
from api.settings import PREFIX, SettingsError

GROUP = "caretree.commands"
SETTINGS = "caretree.settings"
problems = Console(stderr=True, highlight=False, soft_wrap=True)


class Commands(TyperGroup):
    """Finds commands by the names of modules and entry points."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (typer calls it so)
        """All names."""
        return sorted(_places())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (typer calls it so)
        """What help tells of the command of that name, None where there is none."""
        module = _places().get(cmd_name)
        return TyperCommand(cmd_name, help=_sentence(module)) if module is not None else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, itself."""
        name, told, rest = super().resolve_command(ctx, args)
        return name, told and loaded(str(told.name)), rest


def loaded(name: str) -> Any:
    """A command that there is, its module imported."""
    module = import_module(_places()[name])
    return _named(name, getattr(module, "app", None) or module.command)


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


@cache
def _places() -> dict[str, str]:
    """Modules by their commands' names; a name that is a word of Python's ends with an underscore there."""
    found = pkgutil.iter_modules(api.commands.__path__)
    prefix = f"{api.commands.__name__}."
    own = {m.name.rstrip("_").replace("_", "-"): prefix + m.name for m in found}
    return own | {point.name: point.module for point in entry_points(group=GROUP)}


def _sentence(module: str) -> str:
    """What the first line of a module says after the command's name."""
    found = find_spec(module)
    source = getattr(found and found.loader, "get_source", lambda _: "")(module)
    line = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    said = line.partition("`: ")[2]
    return said[:1].upper() + said[1:]


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
