"""The tree given as a table, as spreadsheets write it: looked at, told what is wrong line by line, and made."""

import uuid
from typing import Annotated, Any

import strawberry

from api.graph.organization import OrgUnit
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.structure import below
from api.plan.write import Payload, Work, perform
from domain.organization import OrgUnit as OrgUnits
from domain.table_files import MOST_PROBLEMS, Problem
from domain.tree_files import (
    Plan,
    add,
    begin,
    levels,
    planned,
    read,
    seen,
    unknown_zones,
)

UNIT = Payload("orgUnit", "OrgUnit")


@strawberry.input(description="The tree as a table: region, clinic, department, zone.")
class ImportOrganizationInput:
    table: str = strawberry.field(
        description="Its text, from a first line with the columns' names: commas, semicolons or tabs."
    )
    dry_run: bool = strawberry.field(
        default=True, description="Only tell what would be made and what is wrong."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("What is wrong with a line.")
class TableProblem:
    line: int = strawberry.field(description="From 1; 0 is the whole table.")
    code: str = strawberry.field(description="Stable, for programs.")
    message: str = strawberry.field(description="For people.")
    column: str | None = strawberry.field(description="The column.")


@value_type("What came of a table. Nothing is made while anything is wrong.")
class ImportOrganizationPayload:
    org_unit: OrgUnit | None = strawberry.field(description="The health system itself.")
    made: int | None = strawberry.field(
        description="How many units were made; of a dry run, or with problems, how many would be."
    )
    known: int | None = strawberry.field(description="How many lines name units that are there.")
    problems: list[TableProblem] | None = strawberry.field(
        description="What is wrong, the first hundred; null where a request is repeated."
    )
    user_errors: list[UserError] = payload_errors()


def told(plan: Plan | None) -> dict[str, Any]:
    """The payload's fields that no row shows."""
    if plan is None:
        return {"made": None, "known": None, "problems": None}
    return {"made": len(plan.new), "known": plan.known, "problems": told_problems(plan.problems)}


def told_problems(found: list[Problem]) -> list[dict[str, Any]]:
    """The first of them by line, as the answer has them."""
    return [
        {
            "__typename": "TableProblem",
            "line": problem.line,
            "code": problem.code,
            "message": problem.message,
            "column": problem.column,
        }
        for problem in sorted(found, key=lambda p: p.line)[:MOST_PROBLEMS]
    ]


async def looked_at(work: Work, table: str) -> Plan:
    """What the table comes to at the tree as it is."""
    tree = work.context.actor.tree
    wanted, problems = read(table)
    plan = planned(work.agent.tenant_id, tree.units.values(), wanted)
    plan.problems += problems
    strange = await unknown_zones(work.session, plan)
    if strange:
        plan.problems += [
            Problem(one.line, "ZONE_UNKNOWN", "This is no IANA time zone.", "zone")
            for one in wanted
            if one.zone in strange
        ]
    return plan


@strawberry.type
class Mutation:
    @root("org_unit:create", "Make the tree below the health system out of a table.")
    async def import_organization(
        self, info: Info, input: Annotated[ImportOrganizationInput, GIVEN]
    ) -> ImportOrganizationPayload | None:
        found: list[Plan] = []

        async def command(work: Work) -> uuid.UUID:
            tree = work.context.actor.tree
            top = await work.session.get_one(OrgUnits, (work.agent.tenant_id, tree.root))
            agent = await work.create("org_unit:create", below(work, top))
            plan = await looked_at(work, input.table)
            found.append(plan)
            if plan.problems or input.dry_run or not plan.new:
                return top.id
            work.tree_changes += 1
            await begin(work.session, agent)
            for units in levels(plan):
                await add(work.session, agent, units)
                work.session.grown(map(seen, units))
            return top.id

        async def more(_work: Work, _found: uuid.UUID) -> dict[str, Any]:
            return told(found[0] if found else None)

        return await perform(info._raw_info, "importOrganization", UNIT, input, command, extra=more)
