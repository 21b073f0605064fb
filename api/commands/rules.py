"""`caretree rules …`: which role follows from what a directory or an identity provider says of people."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from api.one_cell import in_cell
from domain.audit import Agent
from domain.role_mappings import Match, RoleMapping
from identity.authors import answering, must_stand
from identity.mapping_sources import Source
from identity.rule_effects import Changes, changes_of
from identity.rules import (
    RuleDraft,
    add_rule,
    check_rule,
    end_rule,
    listed,
    rule_of,
    source_of,
    take_over_rule,
    unit_called,
)
from identity.sync import cell_session

NAME = "rules"
app = typer.Typer(add_completion=False, help="Roles that follow from groups.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)
Of = Annotated[str, typer.Option("--tenant", help="The slug of the health system.")]
By = Annotated[
    str, typer.Option("--by", help="User name of who answers for it: it gives what they may give.")
]
Which = Annotated[UUID, typer.Argument(help="The rule, as `list` has it.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]


@app.command("list")
def list_(tenant: Of) -> None:
    """List the rules that count, and those of whose authors nobody answers any more."""

    async def read(cell: AsyncEngine, agent: Agent) -> list[tuple[RoleMapping, str, bool]]:
        async with cell_session(cell, agent.tenant_id) as session:
            return await listed(session, agent)

    for rule, unit, stands in in_cell(tenant, read):
        whose = f"{rule.source} {rule.source_ref}".strip()
        until = f" until {rule.valid_until:%Y-%m-%d}" if rule.valid_until else ""
        orphan = "" if stands else "; its author may not give this any more: gives nothing new"
        told = f"{whose}: {rule.attribute} {rule.match} {rule.value!r}: {rule.role} at {unit}"
        console.print(f"{rule.id}  {told}{until}{orphan}", markup=False)


@app.command()
def add(
    tenant: Of,
    by: By,
    value: Annotated[str, typer.Option(help="The group, department …; as a pattern with *.")],
    role: Annotated[str, typer.Option(help="Name of the role.")],
    unit: Annotated[str, typer.Option(help="The node: its id, or its name where one has it.")],
    attribute: Annotated[str, typer.Option(help="What is looked at.")] = "groups",
    match: Annotated[Match, typer.Option(help="How the value is compared.")] = Match.EXACT,
    provider: Annotated[
        UUID | None, typer.Option(help="The identity provider whose word counts; else SCIM's.")
    ] = None,
    until: Annotated[dt.datetime | None, typer.Option(help="When it ends (UTC).")] = None,
    dry_run: Dry = False,
) -> None:
    """Make a rule."""

    async def work(cell: AsyncEngine, agent: Agent) -> Changes:
        async with cell_session(cell, agent.tenant_id) as session:
            author = await answering(session, agent, by)
            source = await source_of(session, author, provider)
            ends = until.replace(tzinfo=dt.UTC) if until else None
            place = await unit_called(session, author, unit)
            draft = RuleDraft(source, attribute, match, value, role, place, ends)
            await check_rule(session, author, draft)
            await must_stand(session, author, draft.role, draft.unit_id)
        changes = await changes_of(cell, author, source, adding=draft)
        if not dry_run:
            async with cell_session(cell, agent.tenant_id) as session:
                await add_rule(session, author, draft)
        return changes

    _tell(in_cell(tenant, work), dry_run)


@app.command()
def end(tenant: Of, by: By, rule_id: Which, dry_run: Dry = False) -> None:
    """End a rule; what it alone gave is taken away within moments."""

    async def work(cell: AsyncEngine, agent: Agent) -> Changes:
        async with cell_session(cell, agent.tenant_id) as session:
            author = await answering(session, agent, by)
            rule = await rule_of(session, author, rule_id)
        source = Source(rule.source, rule.source_ref)
        changes = await changes_of(cell, author, source, ending=rule)
        if not dry_run:
            await _change(cell, author, rule_id, end_rule)
        return changes

    _tell(in_cell(tenant, work), dry_run)


@app.command("take-over")
def take_over(tenant: Of, by: By, rule_id: Which) -> None:
    """Answer for a rule in place of its author, who may have left."""

    async def work(cell: AsyncEngine, agent: Agent) -> None:
        async with cell_session(cell, agent.tenant_id) as session:
            author = await answering(session, agent, by)
            rule = await rule_of(session, author, rule_id)
            await must_stand(session, author, rule.role, rule.unit_id)
        await _change(cell, author, rule_id, take_over_rule)

    in_cell(tenant, work)
    console.print("Done.")


async def _change(
    cell: AsyncEngine,
    agent: Agent,
    rule_id: UUID,
    command: Callable[[AsyncSession, Agent, RoleMapping, int], Awaitable[RoleMapping]],
) -> None:
    async with cell_session(cell, agent.tenant_id) as session:
        now = replace(agent, now=dt.datetime.now(dt.UTC))
        rule = await rule_of(session, now, rule_id)
        await command(session, now, rule, rule.version)


def _tell(changes: Changes, dry_run: bool) -> None:
    would = "would " if dry_run else ""
    for what, number, some in (
        ("gain it", changes.gain, changes.gaining),
        ("lose it", changes.lose, changes.losing),
        ("be refused it", changes.refuse, changes.refused),
    ):
        console.print(f"{number} people {would}{what}")
        for one in some:
            why = f" ({one.code})" if one.code else ""
            console.print(
                f"  {one.person_id}  {one.given_name} {one.family_name}{why}", markup=False
            )
