"""`caretree policy`: compiles the policies, and prints who may do what."""

import json
from dataclasses import asdict
from enum import Enum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.cli import fail
from authz import policy as compiler
from authz.matrix import Entry, matrix
from authz.templates import PolicyError, Variant, load_policy

NAME = "policy"
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The policies: compile them, and see who may do what.",
)


class Admins(Enum):
    """Whether administrators read clinical data as providers do, or only by break-glass."""

    INHERIT = "admins_inherit"
    BREAK_GLASS = "admins_break_glass"


@app.command(name="compile")
def compile_(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a file is not up to date.")
    ] = False,
) -> None:
    """Compile the Polar files to the role templates that the product loads."""
    console = Console()
    try:
        with console.status("Compiling the policies …"):
            files = compiler.stale() if check else compiler.write()
    except PolicyError as error:
        fail(f"The policies cannot be used: {error}.")
    names = ", ".join(file.name for file in files)
    if check and files:
        fail(f"Not up to date: {names}. Run `caretree policy compile` and review the difference.")
    console.print(f"Written: {names}." if files else "The templates are up to date.")


@app.command(name="matrix")
def show_matrix(
    admins: Annotated[Admins, typer.Option(help="The variant of the policies.")] = Admins.INHERIT,
    viewer_clinical: Annotated[
        bool, typer.Option("--viewer-clinical", help="With system viewers reading clinical data.")
    ] = False,
    resource: Annotated[str | None, typer.Option(help="One resource only, as `patient`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Print who may do what. What is not printed is refused."""
    try:
        policy = load_policy(Variant(admins.value, viewer_clinical))
    except PolicyError as error:
        fail(f"{error}.")
    entries = [e for e in matrix(policy) if resource in (None, e.permission.split(":")[0])]
    if not entries:
        fail("No policy speaks of this resource.")
    if as_json:
        typer.echo(json.dumps([asdict(e) for e in entries], indent=1))
        return
    roles = [r for r in (*policy.roles, "anyone") if any(e.role == r for e in entries)]
    _print(entries, roles, f"Policy {policy.variant.name}, version {policy.version}")


WIDE = 144
SMALL = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _print(entries: list[Entry], roles: list[str], title: str) -> None:
    """A table of permissions by roles, and below it the conditions that are more than a place."""
    console = Console(highlight=False)
    wide = console.width >= WIDE
    table = Table(title=title, title_justify="left", padding=(0, 1 if wide else 0))
    table.add_column("permission", no_wrap=True)
    for role in roles:
        table.add_column(role.replace("_", "\n") if wide else _short(role), justify="center")
    notes: dict[str, int] = {}
    cells: dict[str, dict[str, str]] = {}
    for entry in entries:
        mark = "✓"
        if not entry.unconditional:
            told = " or ".join(entry.conditions)
            mark += str(notes.setdefault(told, len(notes) + 1)).translate(SMALL)
        cells.setdefault(entry.permission, {})[entry.role] = mark
    for permission, marks in cells.items():
        table.add_row(permission, *(marks.get(role, "–") for role in roles))
    console.print(table)
    if not wide:
        console.print(", ".join(f"{_short(r)} {r}" for r in roles), markup=False)
    console.print("✓ at the node of the grant and below.", markup=False)
    for told, number in notes.items():
        console.print(f"{str(number).translate(SMALL)} where {told}", markup=False)


def _short(role: str) -> str:
    words = role.split("_")
    return "".join(w[0] for w in words) if len(words) > 1 else role[:2]
