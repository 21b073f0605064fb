"""`caretree billing …`: the books of a health system are proven."""

import asyncio
import uuid
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from api.settings import SettingsError, load
from domain.billing.proof import Proof, auditor, prove
from domain.control import RegistryState, TenantEntry
from domain.database import engine, set_tenant
from domain.errors import DomainError, NotFound
from domain.tables import load as load_tables

NAME = "billing"
RESOURCES = ("charge", "invoice", "posting", "claim", "daily_close")
app = typer.Typer(name=NAME, no_args_is_help=True, help="The books of a health system.")
console = Console()
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


@app.callback()
def books() -> None:
    """The books of a health system."""


@app.command()
def verify(tenant: Annotated[str, typer.Option(help="The health system's slug.")]) -> None:
    """Add up every account and compare it with what is told. Reads only.

    Ends with 1 and names the first account that differs.
    """
    try:
        proof = asyncio.run(_verify(tenant))
    except (DomainError, SettingsError) as error:
        complaints.print(str(error), style="red")
        raise typer.Exit(1) from None
    except (DBAPIError, OSError) as error:
        reason = type(error.orig if isinstance(error, DBAPIError) else error).__name__
        complaints.print(f"The database cannot be reached ({reason}).", style="red")
        raise typer.Exit(1) from None
    _print(proof)
    if proof.difference is not None:
        raise typer.Exit(1)


async def _verify(slug: str) -> Proof:
    settings = load()
    load_tables()
    control = engine(settings.control_url(), application="caretree-verify", size=1)
    cell = engine(settings.required("database_url"), application="caretree-verify", size=1)
    try:
        async with AsyncSession(control) as session:
            found = await session.scalar(select(TenantEntry).where(TenantEntry.slug == slug))
        if found is None or found.state != RegistryState.ACTIVE:
            raise NotFound(f"There is no active health system {slug}.")
        return await _proven(AsyncSession(cell, expire_on_commit=False), found.id)
    finally:
        await control.dispose()
        await cell.dispose()


async def _proven(session: AsyncSession, tenant_id: uuid.UUID) -> Proof:
    """One transaction that sees one moment, and writes nothing."""
    async with session, session.begin():
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        await set_tenant(session, tenant_id)
        names = [f"app.scope_{resource}" for resource in RESOURCES] + ["app.write_posting"]
        await session.execute(select(*(func.set_config(name, "*", True) for name in names)))
        with _bar() as bar:
            task = bar.add_task("", total=None, accounts=0)
            return await prove(
                session,
                auditor(tenant_id),
                lambda proof: bar.update(task, completed=proof.patients, accounts=proof.accounts),
            )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.fields[accounts]} accounts"),
        BarColumn(),
        TimeElapsedColumn(),
        console=complaints,
        transient=True,
        disable=not complaints.is_terminal,
    )


def _print(proof: Proof) -> None:
    """The sums in minor units, or where the first difference is: ids, never a name."""
    found = proof.difference
    if found is not None:
        complaints.print(
            f"Account {found.patient_id} at clinic {found.clinic_id}: {found.what}"
            f" (row {found.row_id}).",
            style="red",
        )
        return
    console.print(
        f"{proof.accounts} accounts of {proof.patients} patients add up, in minor units:"
        f" charges {proof.charged} - payments {proof.paid} - adjustments {proof.adjusted}"
        f" - transfers {proof.transferred}"
        f" = {proof.charged - proof.paid - proof.adjusted - proof.transferred}.",
        highlight=False,
        soft_wrap=True,
    )
