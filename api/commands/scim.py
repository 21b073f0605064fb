"""`caretree scim …`: bearer tokens for directories that push people and groups, and whom the guard holds."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from api.one_cell import in_cell
from domain.audit import Agent
from identity.scim.departures import release
from identity.scim.tokens import SCOPES, ended, make_token, revoke_token, rotate_token, tokens_of
from identity.sync import cell_session

app = typer.Typer(add_completion=False, help="Bearer tokens for directories.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)
T = TypeVar("T")
NAME = "scim"
Of = Annotated[str, typer.Option("--tenant", help="The slug of the health system.")]


@app.command()
def token(
    tenant: Of,
    name: Annotated[str, typer.Option(help="What it is for.")] = "directory",
    days: Annotated[int, typer.Option(min=1, max=730, help="So long it opens.")] = 365,
    scope: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(SCOPES)}.")] = None,
) -> None:
    """Make a token and print it, once; several may live at the same time."""
    lasts = dt.timedelta(days=days)
    made = _run(
        tenant, lambda s, agent: make_token(s, agent, name, scopes=scope or SCOPES, lasts=lasts)
    )
    console.print(made.text, markup=False)


@app.command("list")
def list_(tenant: Of) -> None:
    """List the tokens of a health system, without their texts; those that have ended too."""
    now = dt.datetime.now(dt.UTC)
    for row in _run(tenant, lambda session, agent: tokens_of(session, agent.tenant_id)):
        state = "ended" if ended(row, now) else "live"
        used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
        ends = min(filter(None, (row.expires_at, row.revoked_at)))
        dates = f"made {row.created_at:%Y-%m-%d}, ends {ends:%Y-%m-%d}, {used}"
        console.print(
            f"{row.id}  {state}  {row.name} ({' '.join(row.scopes)}): {dates}", markup=False
        )


@app.command()
def rotate(
    tenant: Of,
    token_id: Annotated[UUID, typer.Argument(help="As `list` has it.")],
    overlap: Annotated[int, typer.Option(min=0, max=30, help="Days that the old one opens.")] = 7,
    days: Annotated[int, typer.Option(min=1, max=730, help="So long the new one opens.")] = 365,
) -> None:
    """Make a token's successor and print it, once; the old one opens for a while more."""
    more, lasts = dt.timedelta(days=overlap), dt.timedelta(days=days)
    made = _run(
        tenant, lambda s, agent: rotate_token(s, agent, token_id, overlap=more, lasts=lasts)
    )
    console.print(made.text, markup=False)


@app.command("release")
def release_(
    tenant: Of,
    hours: Annotated[int, typer.Option(min=1, max=168, help="So long nobody is held.")] = 24,
) -> None:
    """Let departures pass that are held because too many leave at once."""
    made = _run(tenant, lambda s, agent: release(s, agent, dt.timedelta(hours=hours)))
    console.print(f"Departures pass until {made.until:%Y-%m-%d %H:%M} UTC; have them sent again.")


@app.command()
def revoke(tenant: Of, token_id: Annotated[UUID, typer.Argument(help="As `list` has it.")]) -> None:
    """Refuse a token from the next request on."""
    _run(tenant, lambda session, agent: revoke_token(session, agent, token_id))
    console.print("The token is revoked.")


def _run(slug: str, work: Callable[[AsyncSession, Agent], Awaitable[T]]) -> T:
    async def command(cell: AsyncEngine, agent: Agent) -> T:
        async with cell_session(cell, agent.tenant_id) as session:
            return await work(session, agent)

    return in_cell(slug, command)
