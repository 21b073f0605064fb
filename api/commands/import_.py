"""`caretree import fhir …`: records of other systems are taken in."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from api.settings import Settings, SettingsError, load
from domain.control import RegistryState, TenantEntry
from domain.database import engine, set_tenant
from domain.errors import DomainError, NotFound
from domain.imports import PlaceRule, Report, Run, Sources, clinic_named, clinics_of, read_map
from domain.key_providers import FileKeyProvider, KeyMissing
from domain.sealing import Keyring
from domain.tables import load as load_tables

NAME = "import"
SHOWN_PROBLEMS = 50
app = typer.Typer(name=NAME, no_args_is_help=True, help="Take in records of other systems.")
console = Console()
complaints = Console(stderr=True)


@app.callback()
def records() -> None:
    """Take in records of other systems."""


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line."""

    files: list[Path]
    tenant: str
    clinic: str | None
    map: Path | None
    dry_run: bool
    stop_on_error: bool


@app.command()
def fhir(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Bundles (.json, .ndjson), archives (.tar.xz, .tar.gz, .zip), folders."
        ),
    ],
    tenant: Annotated[str, typer.Option(help="The health system's slug.")],
    clinic: Annotated[
        str | None,
        typer.Option(help="Name or id of the clinic for organizations that are not placed yet."),
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map", help="JSON or CSV: organization (identifier or name) and clinic (name or id)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Do everything, keep nothing.")] = False,
    stop_on_error: Annotated[bool, typer.Option(help="End at the first that fails.")] = False,
    json: Annotated[bool, typer.Option(help="Print the report as JSON.")] = False,
) -> None:
    """Take FHIR R4 transaction bundles in: patients, visits, what was found and done, claims and what was paid.

    Each bundle is taken as a whole or not at all; running it again changes nothing.

    Without --clinic and --map organizations are spread over the clinics. Where one was put once, it stays.

    Ends with 1 when a bundle failed.
    """
    wish = Wish(files, tenant, clinic, map_, dry_run, stop_on_error)
    report = _run(wish, quiet=json)
    if json:
        typer.echo(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
    else:
        _print(report)
    if report.failed:
        raise typer.Exit(1)


def _run(wish: Wish, *, quiet: bool) -> Report:
    """Carry it out; a failure becomes one sentence and exit code 1."""
    try:
        return asyncio.run(_import(wish, quiet=quiet))
    except (DomainError, SettingsError) as error:
        complaints.print(str(error), style="red", highlight=False)
    except KeyMissing:
        complaints.print(
            "The health system has no key at CARETREE_KEY_FILE; nothing can be sealed.", style="red"
        )
    except (DBAPIError, OSError) as error:
        reason = type(error.orig if isinstance(error, DBAPIError) else error).__name__
        complaints.print(
            f"The database cannot be reached ({reason}). What was taken stays; run the same command again.",
            style="red",
            highlight=False,
        )
    raise typer.Exit(1)


async def _import(wish: Wish, *, quiet: bool) -> Report:
    settings = load()
    load_tables()
    cell = engine(settings.required("database_url"), application="caretree-import", size=1)
    try:
        tenant_id = await _tenant(settings, wish.tenant)
        rule = await _rule(cell, tenant_id, wish)
        keyring = Keyring(FileKeyProvider(Path(settings.required("key_file"))), cell)
        run = Run(
            cell,
            tenant_id,
            await keyring.of(tenant_id),
            rule,
            dry_run=wish.dry_run,
            stop_on_error=wish.stop_on_error,
        )
        sources = Sources(wish.files)
        with _bar(sources, quiet=quiet) as moved:
            return await run.take(sources, moved)
    finally:
        await cell.dispose()


async def _tenant(settings: Settings, slug: str) -> uuid.UUID:
    """The id of the active health system of this slug. Raises NotFound."""
    control = engine(settings.control_url(), application="caretree-import", size=1)
    try:
        async with AsyncSession(control) as session:
            found = await session.scalar(
                select(TenantEntry.id).where(
                    TenantEntry.slug == slug, TenantEntry.state == RegistryState.ACTIVE
                )
            )
    finally:
        await control.dispose()
    if found is None:
        raise NotFound(f"There is no active health system {slug}.")
    return found


async def _rule(cell: AsyncEngine, tenant_id: uuid.UUID, wish: Wish) -> PlaceRule:
    async with AsyncSession(cell) as session, session.begin():
        await set_tenant(session, tenant_id)
        clinics = await clinics_of(session, tenant_id)
    return PlaceRule(
        clinics,
        read_map(wish.map, clinics) if wish.map else {},
        clinic_named(clinics, wish.clinic) if wish.clinic else None,
    )


def _bar(sources: Sources, *, quiet: bool) -> AbstractContextManager[Callable[[Report], None]]:
    """A bar by bytes read, with the counts beside it; nothing where nobody would see it."""
    if quiet or not complaints.is_terminal:
        return nullcontext(lambda _report: None)
    return _Bar(sources)


class _Bar:
    """The bar while it is on the screen."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._progress = Progress(
            TextColumn("{task.fields[bundles]} bundles, {task.fields[resources]} resources"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=complaints,
            transient=True,
        )
        self._task = self._progress.add_task("", total=sources.total, bundles=0, resources=0)

    def __enter__(self) -> Callable[[Report], None]:
        self._progress.start()
        return self._moved

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _moved(self, report: Report) -> None:
        self._progress.update(
            self._task,
            completed=self._sources.position,
            bundles=report.bundles,
            resources=report.tally.resources,
        )


def _print(report: Report) -> None:
    """The counts by type, why something was skipped or left out, what was wrong."""
    tally = report.tally
    table = Table("type", *(_right(c) for c in ("taken", "changed", "unchanged", "skipped")), "why")
    for type_ in report.types():
        skipped = {reason: n for (t, reason), n in sorted(tally.skipped.items()) if t == type_}
        counts = (tally.taken[type_], tally.changed[type_], tally.unchanged[type_])
        numbers = (*counts, sum(skipped.values()))
        table.add_row(type_, *(str(n) if n else "" for n in numbers), "; ".join(skipped))
    if table.rows:
        console.print(table)
    for (type_, reason), count in sorted(tally.left_out.items()):
        console.print(f"{type_}: left out {count} ({reason})", highlight=False)
    for what, sums in report.money().items():
        exact = "" if sums["exact"] == sums["source"] else f" (before rounding {sums['exact']})"
        shown = (
            f"{what}: source {sums['source']} {sums['currency']}{exact}, stored {sums['stored']}"
        )
        console.print(shown, highlight=False)
    _print_problems(report)
    speed = f", {tally.resources / report.seconds:,.0f} resources/s" if report.seconds else ""
    kept = " Dry run: nothing was kept." if report.dry_run else ""
    console.print(
        f"{report.bundles} bundles, {report.failed} failed, {report.seconds:.1f} s{speed}.{kept}",
        highlight=False,
    )


def _right(name: str) -> Column:
    return Column(name, justify="right")


def _print_problems(report: Report) -> None:
    for problem in report.problems[:SHOWN_PROBLEMS]:
        complaints.print(str(problem), style="red", highlight=False, markup=False, soft_wrap=True)
    further = len(report.problems) - SHOWN_PROBLEMS + report.further_problems
    if further > 0:
        complaints.print(f"… and {further} more problems.", style="red", highlight=False)
