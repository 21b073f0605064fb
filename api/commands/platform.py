"""`caretree platform …`: the operators' own API, and who they are."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
import uvicorn
from rich.console import Console

from api.cli import fail
from api.commands.serve import SERVED
from api.platform.app import opened
from api.settings import SettingsError, load
from domain.errors import DomainError
from identity.keycloak_failures import KeycloakFailure
from identity.operators import NewOperator, add_operator, ensure_realm, remove_operator
from identity.tenants import NoRoom, Platform, register_cluster

T = TypeVar("T")
NAME = "platform"
app = typer.Typer(name=NAME, no_args_is_help=True, help="The platform's operators and their API.")
console = Console()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8100,
) -> None:
    """Serve the operators' API and carry out what they order, until a signal ends it."""
    settings = load()
    for name in ("platform_database_url", "key_file", "keycloak_admin_client_id"):
        settings.required(name)
    uvicorn.run("api.platform.app:from_environment", factory=True, host=host, port=port, **SERVED)


@app.command()
def cluster(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    url: Annotated[str, typer.Option(help="Where we reach it.")],
    region: Annotated[str, typer.Option(help="Which health systems it is for.")] = "local",
    public_url: Annotated[
        str | None, typer.Option(help="What browsers and issuers say; it never changes.")
    ] = None,
    cap: Annotated[int, typer.Option(min=1, help="How many realms it may hold.")] = 150,
) -> None:
    """Make an identity cluster known, or correct where it is reached and how many realms it may hold."""

    async def work(platform: Platform) -> None:
        await register_cluster(
            platform.control, name, region=region, url=url, public_url=public_url, cap=cap
        )

    _run(work)
    console.print(f"[bold]{name}[/] holds up to {cap} realms for {region}.")


@app.command()
def operator(
    user_name: Annotated[str, typer.Argument(help="What they log in with.")],
    name: Annotated[str, typer.Option(help="Given and family name.")],
    region: Annotated[str, typer.Option(help="Where the operators' realm is made.")] = "local",
) -> None:
    """Make an operator, and the realm in which operators log in. Safe to repeat."""
    given, _, family = name.strip().rpartition(" ")

    async def work(platform: Platform) -> str | None:
        entry = await ensure_realm(platform, region=region)
        console.print(f"Operators log in at {entry.issuer}", highlight=False)
        return await add_operator(platform, NewOperator(user_name, given or family, family))

    password = _run(work)
    if password:
        console.print(f"  {user_name}, temporary password: {password}", highlight=False)


@app.command()
def remove(user_name: Annotated[str, typer.Argument(help="Who.")]) -> None:
    """Cut an operator off, at once."""
    _run(lambda platform: remove_operator(platform, user_name))
    console.print(f"[bold]{user_name}[/] operates no more.")


def _run(work: Callable[[Platform], Awaitable[T]]) -> T:
    """Carry the work out; a failure becomes one sentence, and exit code 1."""

    async def opening() -> T:
        async with opened(load()) as platform:
            return await work(platform)

    try:
        return asyncio.run(opening())
    except (DomainError, NoRoom, SettingsError, KeycloakFailure, LookupError) as error:
        fail(str(error))
    raise typer.Exit(1)
