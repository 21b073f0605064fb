"""`caretree jobs …`: work for Keycloak and others that was given up, looked at and done again."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from api.settings import load
from domain.database import engine
from identity.dead_jobs import dead_jobs, replay
from identity.registry import Registry

NAME = "jobs"
app = typer.Typer(add_completion=False, help="Jobs that were given up.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)
Of = Annotated[str | None, typer.Option("--tenant", help="Only of this health system, by slug.")]


@app.command()
def dead(tenant: Of = None) -> None:
    """List the jobs that nothing tries again by itself."""
    whose = _tenant(tenant)
    for job in asyncio.run(dead_jobs(_dsn(), whose)):
        about = " ".join(f"{name} {value}" for name, value in sorted(job.about.items()))
        when = f"{job.at:%Y-%m-%d %H:%M}" if job.at else "unknown"
        told = f"{job.id}  {job.task}  {job.tenant_id or 'all'}  {about}"
        console.print(f"{told}  tried {job.attempts} times, last {when}", markup=False)


@app.command("replay")
def replay_(
    jobs: Annotated[list[int] | None, typer.Argument(help="Of these only; else all.")] = None,
    tenant: Of = None,
) -> None:
    """Let jobs that were given up run again."""
    done = asyncio.run(replay(_dsn(), jobs or None, _tenant(tenant)))
    console.print(f"{len(done)} jobs run again.")


def _dsn() -> str:
    return load().required("worker_database_url")


def _tenant(slug: str | None) -> UUID | None:
    return None if slug is None else asyncio.run(_found(slug))


async def _found(slug: str) -> UUID:
    control = engine(load().control_url("worker_database_url"), application="caretree-jobs", size=1)
    try:
        entry = await Registry(control).by_slug(slug)
    finally:
        await control.dispose()
    if entry is None:
        raise typer.BadParameter(f"There is no active health system {slug!r}.")
    return entry.tenant_id
