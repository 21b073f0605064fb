"""`caretree scim …`: bearer tokens for directories that push people and groups."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from api.one_cell import in_cell
from domain.audit import Agent
from identity.scim.tokens import SCOPES, make_token, revoke_token, tokens_of
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
    """List the tokens of a health system, without their texts."""
    now = dt.datetime.now(dt.UTC)
    for row in _run(tenant, lambda session, agent: tokens_of(session, agent.tenant_id)):
        state = "revoked" if row.revoked_at else "expired" if row.expires_at <= now else "live"
        used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
        dates = f"made {row.created_at:%Y-%m-%d}, expires {row.expires_at:%Y-%m-%d}, {used}"
        console.print(
            f"{row.id}  {state}  {row.name} ({' '.join(row.scopes)}): {dates}", markup=False
        )


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
