"""`caretree tenant …`: health systems are made, listed, suspended, resumed, handed over and erased."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from api.platform.app import opened
from api.settings import Settings, SettingsError, load
from domain.audit import Agent
from domain.errors import DomainError, NotFound
from domain.operators import LifecycleOrder, OrderState
from domain.organization import JitMode, MfaPolicy, PolicyVariant
from domain.sealing import KeyMissing, SealBroken
from domain.second_factors import EVERY_METHOD, MfaMethod
from identity.device_resets import reset_devices_of
from identity.exports import Exported, export_tenant
from identity.keycloak_failures import Denied, KeycloakFailure
from identity.lifecycle import (
    resume_tenant,
    set_jit_mode,
    set_second_approval,
    set_session_limits,
    suspend_tenant,
)
from identity.order_runs import erase_now
from identity.platform import listed
from identity.provisioning import PersonDraft
from identity.realm_checks import Check, check_realm
from identity.realms import SVC_IDENTITY, RealmTaken
from identity.second_factors import configure_mfa, drafted_rule
from identity.sync import cell_session
from identity.tenants import (
    MadeTenant,
    NoRoom,
    Platform,
    TenantOrder,
    create_tenant,
    register_cluster,
)
from identity.upgrades import RealmReport, drift_of, repair_of, upgrade_realms

T = TypeVar("T")
NAME = "tenant"
app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    help="Health systems: create, list, suspend, resume, export, erase.",
)
console = Console()
problems = Console(stderr=True)

STEPS = {
    "registry": "entering it into the registry",
    "keys": "making its key",
    "cell": "its tree and its first two people",
    "realm": "its realm in Keycloak",
    "people": "letting the first two people in",
    "active": "opening it",
}
Slug = Annotated[str, typer.Argument(help="The health system's slug.")]


@app.command()
def create(
    slug: Annotated[
        str, typer.Option(help="3 to 40 of a-z, 0-9 and -: part of the login address.")
    ],
    name: Annotated[str, typer.Option(help="The health system's name.")],
    mfa: Annotated[MfaPolicy, typer.Option(help="Who must show a second factor.")] = (
        MfaPolicy.ADMINS
    ),
    variant: Annotated[
        PolicyVariant, typer.Option(help="How administrators come to clinical data.")
    ] = PolicyVariant.ADMINS_INHERIT,
    currency: Annotated[str, typer.Option(help="ISO 4217.")] = "USD",
    admin: Annotated[str, typer.Option(help="User name of the first system administrator.")] = (
        "admin"
    ),
    admin_name: Annotated[str, typer.Option(help="Given and family name.")] = (
        "System Administrator"
    ),
    officer: Annotated[str, typer.Option(help="User name of the privacy officer.")] = "privacy",
    officer_name: Annotated[str, typer.Option(help="Given and family name.")] = "Privacy Officer",
) -> None:
    """Make a health system ready to log in. Safe to repeat: what is done already stays as it is."""
    order = TenantOrder(
        slug=slug,
        name=name,
        admin=_person(admin, admin_name),
        privacy_officer=_person(officer, officer_name),
        mfa=mfa,
        variant=variant,
        currency=currency,
    )

    async def make(platform: Platform, settings: Settings) -> MadeTenant:
        await register_cluster(
            platform.control, "default", region="local", url=settings.required("keycloak_url")
        )
        return await create_tenant(platform, order, _step)

    made = _run(make)
    console.print(f"[bold]{made.slug}[/] is ready: people log in at {made.issuer}")
    for user_name, password in made.passwords.items():
        console.print(f"  {user_name}, temporary password: {password}", highlight=False)


@app.command(name="list")
def list_() -> None:
    """All health systems."""

    async def read(platform: Platform, _: Settings) -> Table:
        table = Table("slug", "state", "region", "cell", "tier", "cluster", "issuer")
        for entry, cluster in await listed(platform):
            place = (entry.region, entry.cell, entry.tier, cluster, entry.issuer)
            table.add_row(entry.slug, entry.state, *place)
        return table

    console.print(_run(read))


@app.command()
def suspend(slug: Slug) -> None:
    """Cut everybody of a health system off at once. Its data stay."""
    _run(lambda platform, _: suspend_tenant(platform, slug, _step))
    console.print(f"[bold]{slug}[/] is suspended.")


@app.command()
def resume(slug: Slug) -> None:
    """Let the people of a suspended health system in again; each logs in anew."""
    _run(lambda platform, _: resume_tenant(platform, slug, _step))
    console.print(f"[bold]{slug}[/] is active.")


@app.command()
def export(slug: Slug, to: Annotated[Path, typer.Option(help="The archive to write.")]) -> None:
    """Write a health system's rows and realm into an archive (docs/leaving.md). It is not encrypted: guard it."""

    async def write(platform: Platform, _: Settings) -> Exported:
        return await export_tenant(platform, slug, to, _plain_step)

    made = _run(write)
    told = f"{sum(made.rows.values())} rows of {len(made.rows)} tables, {made.people} users"
    console.print(f"[bold]{to}[/]: {told}, {made.size} bytes", highlight=False)
    console.print(f"  SHA-256 {made.sha256}", highlight=False)


@app.command()
def erase(
    slug: Slug,
    confirm: Annotated[
        str, typer.Option(prompt="Nothing brings it back. Type the slug", help="The slug again.")
    ],
) -> None:
    """Erase a suspended health system for ever: its key, its realm, every row. Safe to repeat after a crash."""
    if confirm != slug:
        problems.print("That is not the slug; nothing was erased.", style="red")
        raise typer.Exit(1)

    async def work(platform: Platform, _: Settings) -> LifecycleOrder:
        return await erase_now(platform, slug, _plain_step)

    order = _run(work)
    if order.state != OrderState.DONE:
        told = order.failure or "Another process is at it."
        problems.print(f"{told} Run the same command again.", style="red", highlight=False)
        raise typer.Exit(1)
    rows = sum(order.report["rows"].values())
    console.print(f"[bold]{slug}[/] is erased: {rows} rows, order {order.id}", highlight=False)


@app.command()
def mfa(
    slug: Slug,
    policy: Annotated[MfaPolicy, typer.Argument(help="Who must show one.")],
    method: Annotated[
        list[MfaMethod] | None,
        typer.Option(help="A kind that counts; all without it. The first is what logins set up."),
    ] = None,
    grace: Annotated[int, typer.Option(help="Days that people have for setting one up.")] = 0,
) -> None:
    """Change who must show a second factor: for requests at once, for logins as soon as the worker has run."""

    async def change(session: AsyncSession, agent: Agent) -> None:
        await configure_mfa(session, agent, drafted_rule(policy, method or EVERY_METHOD, grace))

    _change(slug, change)
    console.print(f"[bold]{slug}[/]: a second factor is asked of {policy.value}.")


@app.command(name="reset-devices")
def reset_devices_(
    slug: Slug, user_name: Annotated[str, typer.Argument(help="Who has lost them.")]
) -> None:
    """Remove somebody's second factors where no second administrator is left to approve it. They are told by mail."""

    _change(slug, lambda session, agent: reset_devices_of(session, agent, user_name))
    console.print(f"[bold]{slug}[/]: {user_name} sets up a second factor at the next login.")


class Switch(StrEnum):
    """A rule that is on or off."""

    ON = "on"
    OFF = "off"


@app.command()
def approval(
    slug: Slug, switch: Annotated[Switch, typer.Argument(help="on: two people decide.")]
) -> None:
    """Say whether a second administrator approves grants of system_admin, privacy_officer and auditor."""
    asked = switch is Switch.ON
    _change(slug, lambda session, agent: set_second_approval(session, agent, asked))
    console.print(f"[bold]{slug}[/]: second approvals are {switch.value}.")


@app.command()
def jit(
    slug: Slug, mode: Annotated[JitMode, typer.Argument(help="Of any provider, of some, of none.")]
) -> None:
    """Say whose first logins through an identity provider make people."""
    _change(slug, lambda session, agent: set_jit_mode(session, agent, mode))
    console.print(f"[bold]{slug}[/]: logins make people: {mode.value}.")


@app.command()
def sessions(
    slug: Slug,
    idle: Annotated[int, typer.Option(help="Minutes without use after which a login ends.")] = 30,
    longest: Annotated[int, typer.Option(help="Minutes that a login lasts at the most.")] = 600,
) -> None:
    """Say how long logins last."""
    _change(
        slug, lambda session, agent: set_session_limits(session, agent, idle * 60, longest * 60)
    )
    console.print(f"[bold]{slug}[/]: logins last {idle} minutes idle, {longest} at the most.")


def _change(slug: str, command: Callable[[AsyncSession, Agent], Awaitable[None]]) -> None:
    """Carry out a command on the health system's own row."""

    async def change(platform: Platform, _: Settings) -> None:
        entry = next((e for e, _ in await listed(platform) if e.slug == slug), None)
        if entry is None:
            raise NotFound("There is no such health system.")
        agent = Agent(tenant_id=entry.id, now=datetime.now(UTC))
        async with cell_session(platform.cell, entry.id) as session:
            await command(session, agent)

    _run(change)


@app.command(name="drift")
def drift_(
    slug: Slug, repair: Annotated[bool, typer.Option(help="Mend what differs.")] = False
) -> None:
    """Compare a health system's realm with the template; exit code 1 where they differ and nothing was mended."""
    if repair:
        _tell([_run(lambda platform, _: repair_of(platform, slug))])
        return
    findings = _run(lambda platform, _: drift_of(platform, slug))
    for finding in findings:
        console.print(f"  {finding}", highlight=False)
    if findings:
        raise typer.Exit(1)
    console.print(f"[bold]{slug}[/]: the realm is as it should be.")


@app.command()
def people(slug: Slug) -> None:
    """Compare the realm's users with the people, both ways, as each night; the worker mends what is ours."""

    async def compare(platform: Platform, _: Settings) -> Check | None:
        entry = next((e for e, _ in await listed(platform) if e.slug == slug), None)
        if entry is None:
            raise NotFound("There is no such health system.")
        realm = await platform.accounts.realm(entry.id, SVC_IDENTITY)
        return await check_realm(platform.cell, realm, entry.id)

    check = _run(compare)
    if check is None:
        console.print(f"[bold]{slug}[/] is suspended: nobody was compared.")
        return
    for finding in check.findings:
        console.print(f"  {finding}", highlight=False)
    told = f"{check.people} people, {check.users} users, {check.repaired} brought up to date"
    console.print(f"[bold]{slug}[/]: {told}", highlight=False)


@app.command()
def upgrade(
    check: Annotated[bool, typer.Option(help="Change nothing, only tell.")] = False,
) -> None:
    """Bring every health system's realm to the present template, whichever made it, and tell what that took.

    Safe to repeat, also after a crash. Exit code 1 where a realm is not as it should be afterwards.
    """

    async def visit(platform: Platform, _: Settings) -> list[RealmReport]:
        return await upgrade_realms(platform, mend=not check, progress=_visit)

    _tell(_run(visit))


def _visit(slug: str) -> None:
    console.print(f"  {slug}", highlight=False, style="dim")


def _tell(reports: list[RealmReport]) -> None:
    """What was found at each realm; exit code 1 where something is left to do."""
    for report in reports:
        outcome = "as it should be"
        if report.found:
            outcome = f"{'mended' if report.mended else 'differs in'} {len(report.found)} points"
        outcome = report.failure or outcome
        version = f"template {report.before or 'unknown'}"
        console.print(f"[bold]{report.slug}[/] ({version}, {report.seconds:.1f} s): {outcome}")
        for finding in report.found:
            console.print(f"  {finding}", highlight=False)
    if any(r.failure or (r.found and not r.mended) for r in reports):
        raise typer.Exit(1)


def _person(user_name: str, name: str) -> PersonDraft:
    given, _, family = name.strip().rpartition(" ")
    return PersonDraft(user_name, given or family, family)


def _step(name: str) -> None:
    console.print(f"  {name}: {STEPS.get(name, 'closing')}", highlight=False, style="dim")


def _plain_step(name: str) -> None:
    console.print(f"  {name}", highlight=False, style="dim")


def _run(work: Callable[[Platform, Settings], Awaitable[T]]) -> T:
    """Carry the work out; a failure becomes one sentence that says what to do, and exit code 1."""
    try:
        return asyncio.run(_with_platform(work))
    except (DomainError, NoRoom, RealmTaken, SettingsError, KeyMissing, SealBroken) as error:
        problems.print(str(error), style="red", highlight=False)
    except Denied:
        problems.print(
            "Keycloak refuses CARETREE_KEYCLOAK_ADMIN_CLIENT_ID with its secret, or its right to"
            " make realms is gone.",
            style="red",
        )
    except KeycloakFailure as error:
        problems.print(f"{error} Run the same command again.", style="red", highlight=False)
    except OSError as error:
        problems.print(f"{error.strerror or error}", style="red", highlight=False)
    except SQLAlchemyError as error:
        problems.print(f"The database refused: {error}", style="red", highlight=False)
    raise typer.Exit(1)


async def _with_platform(work: Callable[[Platform, Settings], Awaitable[T]]) -> T:
    settings = load()
    async with opened(settings) as platform:
        return await work(platform, settings)
