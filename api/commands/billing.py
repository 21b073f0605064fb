"""`caretree billing …`: the books of a health system are proven; claims go out, payers' answers come in."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from api.settings import SettingsError, load
from domain.audit import Agent
from domain.billing import Claim, amount_of, own_tenant
from domain.billing.fhir import claim_json, take_response
from domain.billing.proof import Proof, auditor, prove
from domain.billing.reconciliation import KIND, take_payment
from domain.billing.remittances import kind_of
from domain.control import RegistryState, TenantEntry
from domain.database import engine, set_tenant
from domain.errors import DomainError, NotFound, Several
from domain.organization import Tenant
from domain.tables import load as load_tables

NAME = "billing"
KINDS = ("scope", "write")
RESOURCES = ("charge", "invoice", "posting", "claim", "coverage", "condition", "daily_close")
T = TypeVar("T")
app = typer.Typer(name=NAME, no_args_is_help=True, help="The books of a health system.")
console = Console()
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


@app.callback()
def books() -> None:
    """The books of a health system."""


Slug = Annotated[str, typer.Option(help="The health system's slug.")]
Step = Callable[[AsyncSession, TenantEntry], Awaitable[T]]


@app.command()
def verify(tenant: Slug) -> None:
    """Add up every account and compare it with what is told. Reads only.

    Ends with 1 and names the first account that differs.
    """
    proof = _run(tenant, _proven, snapshot=True)
    _print(proof)
    if proof.difference is not None:
        raise typer.Exit(1)


@app.command()
def export_claim(
    claim: Annotated[uuid.UUID, typer.Argument(help="The claim's id.")], tenant: Slug
) -> None:
    """Print a claim as FHIR R4 Claim, with its diagnoses."""

    async def told(session: AsyncSession, entry: TenantEntry) -> bytes:
        agent = auditor(entry.id)
        found = await session.get(Claim, {"tenant_id": entry.id, "id": claim})
        if found is None:
            raise NotFound("There is no such claim.")
        return await claim_json(session, agent, await own_tenant(session, agent), found)

    typer.echo(_run(tenant, told).decode())


@app.command()
def remit(
    files: Annotated[
        list[Path],
        typer.Argument(help="FHIR R4 ClaimResponse or PaymentReconciliation, one a file."),
    ],
    tenant: Slug,
) -> None:
    """Take payers' answers and payments and post them; what was taken before changes nothing.

    Each file is taken as a whole or not at all. Ends with 1 when one was refused, naming each entry that is wrong.
    """
    refused = [file for file in files if not _remitted(file, tenant)]
    if refused:
        raise typer.Exit(1)


def _remitted(file: Path, slug: str) -> bool:
    """Take one answer or payment, say so, and whether it was taken."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        complaints.print(f"{file.name}: {type(error).__name__}", style="red")
        return False

    take = _payment if kind_of(raw) == KIND else _answer

    async def taken(session: AsyncSession, entry: TenantEntry) -> str:
        agent = auditor(entry.id)
        return await take(session, agent, await own_tenant(session, agent), raw)

    try:
        told = _run(slug, taken)
    except typer.Exit:
        complaints.print(f"{file.name}: not taken", style="red")
        return False
    console.print(f"{file.name}: {told}", soft_wrap=True, highlight=False)
    return True


async def _answer(session: AsyncSession, agent: Agent, tenant: Tenant, raw: bytes) -> str:
    claim, new = await take_response(session, agent, tenant, raw)
    return f"claim {claim.id} {claim.queue if new else 'taken before'}"


async def _payment(session: AsyncSession, agent: Agent, tenant: Tenant, raw: bytes) -> str:
    made, new = await take_payment(session, agent, tenant, raw)
    if not new:
        return f"payment {made.id} taken before"
    amount = amount_of(made.amount_minor, tenant)
    return f"payment {made.id} of {amount} {tenant.currency} for {made.claims} claims"


def _run(slug: str, step: Step[T], *, snapshot: bool = False) -> T:
    """Carry it out in one transaction; a failure becomes one sentence and exit code 1."""
    try:
        return asyncio.run(_in_cell(slug, step, snapshot=snapshot))
    except Several as error:
        for each in error.errors:
            complaints.print(f"{'.'.join(each.path)}: {each}", style="red")
    except (DomainError, SettingsError) as error:
        complaints.print(str(error), style="red")
    except (DBAPIError, OSError) as error:
        reason = type(error.orig if isinstance(error, DBAPIError) else error).__name__
        complaints.print(f"It could not be read or written ({reason}).", style="red")
    raise typer.Exit(1)


async def _in_cell(slug: str, step: Step[T], *, snapshot: bool) -> T:
    settings = load()
    load_tables()
    control = engine(settings.control_url(), application="caretree-billing", size=1)
    cell = engine(settings.required("database_url"), application="caretree-billing", size=1)
    try:
        async with AsyncSession(control) as session:
            found = await session.scalar(select(TenantEntry).where(TenantEntry.slug == slug))
        if found is None or found.state != RegistryState.ACTIVE:
            raise NotFound(f"There is no active health system {slug}.")
        async with AsyncSession(cell, expire_on_commit=False) as session, session.begin():
            if snapshot:  # all statements see one moment
                level = {"isolation_level": "REPEATABLE READ"}
                await session.connection(execution_options=level)
            await set_tenant(session, found.id)
            names = [f"app.{kind}_{resource}" for kind in KINDS for resource in RESOURCES]
            await session.execute(select(*(func.set_config(name, "*", True) for name in names)))
            return await step(session, found)
    finally:
        await control.dispose()
        await cell.dispose()


async def _proven(session: AsyncSession, entry: TenantEntry) -> Proof:
    with _bar() as bar:
        task = bar.add_task("", total=None, accounts=0)
        return await prove(
            session,
            auditor(entry.id),
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
