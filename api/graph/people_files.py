"""People given as a table, as spreadsheets write it: looked at, told what is wrong line by line, and made with their roles."""

import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry

from api.graph.granting import may_be_claimed
from api.graph.organization import OrgUnit
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.tree_files import UNIT, TableProblem, told_problems
from api.plan.write import Work, perform
from authz.guard import Forbidden
from domain.errors import DomainError
from domain.model import new_id
from domain.people import Person
from domain.table_files import Problem
from identity.grants import LOCAL, GrantDraft, NeedsApproval, drafted, give_grant, needs_approval
from identity.people_files import Role, Somebody, Units, known, read
from identity.provisioning import create_person


@strawberry.input(
    description="People as a table: login, given_name, family_name, email, role, region, clinic, department."
)
class ImportPeopleInput:
    table: str = strawberry.field(
        description="Its text, from a first line with the columns' names: commas, semicolons or tabs."
    )
    dry_run: bool = strawberry.field(
        default=True, description="Only tell what would be made and what is wrong."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("What came of a table. Nobody is made while anything is wrong.")
class ImportPeoplePayload:
    org_unit: OrgUnit | None = strawberry.field(description="The health system itself.")
    made: int | None = strawberry.field(
        description="How many people were made; of a dry run, or with problems, how many would be."
    )
    given: int | None = strawberry.field(description="How many roles were given; likewise.")
    known: int | None = strawberry.field(description="How many people are there already.")
    problems: list[TableProblem] | None = strawberry.field(
        description="What is wrong, the first hundred; null where a request is repeated."
    )
    user_errors: list[UserError] = payload_errors()


@dataclass
class Outcome:
    """What a table comes to."""

    made: int = 0
    given: int = 0
    known: int = 0
    problems: list[Problem] = field(default_factory=list)
    forbidden: Forbidden | None = None


def told(outcome: Outcome | None) -> dict[str, Any]:
    """The payload's fields that no row shows."""
    if outcome is None:
        return dict.fromkeys(("made", "given", "known", "problems"))
    counts = {"made": outcome.made, "given": outcome.given, "known": outcome.known}
    return {**counts, "problems": told_problems(outcome.problems)}


async def take(work: Work, table: str) -> Outcome:
    """Make everybody whom the table names, each as `createPerson` and `giveGrant` would; tell what cannot be.

    Raises Forbidden where the asker may do nothing of it.
    """
    outcome = Outcome()
    people, outcome.problems = read(table)
    there = await known(work.session, work.agent, people)
    units = Units(work.context.actor.tree.units.values())
    for one in people:
        person = there.get(one.login)
        if person is None:
            await _make(work, one, units, outcome)
        else:
            await _complete(work, one, person, units, outcome)
    if outcome.forbidden is not None and not outcome.made and not outcome.given:
        raise outcome.forbidden
    return outcome


async def _make(work: Work, one: Somebody, units: Units, outcome: Outcome) -> None:
    """A new person with all their roles."""
    if not one.named:
        said = "Somebody new has a given name and a family name."
        outcome.problems.append(Problem(one.line, "NAME_MISSING", said, "family_name"))
        return
    person_id = new_id()
    grants: list[GrantDraft] = []
    coming = []
    line = one.line
    try:
        for role in one.roles:
            line = role.line
            draft, new = await _judged(work, role, units, person_id)
            grants.append(draft)
            coming.append(new)
        line = one.line
        who = SimpleNamespace(tenant_id=work.agent.tenant_id, id=person_id)
        agent = await work.create("person:manage", (who, coming))
        first = grants[0] if grants else None
        await create_person(work.session, agent, one.draft, person_id=person_id, first=first)
        for draft in grants[1:]:
            await give_grant(work.session, agent, draft)
    except (DomainError, Forbidden, _Wrong) as error:
        _refused(outcome, line, error)
        return
    outcome.made += 1
    outcome.given += len(grants)


async def _complete(
    work: Work, one: Somebody, person: Person, units: Units, outcome: Outcome
) -> None:
    """Somebody who is there, with the roles that they lack."""
    names = {"given_name": one.given_name, "family_name": one.family_name}
    other = [
        c for c, said in names.items() if said and said.casefold() != getattr(person, c).casefold()
    ]
    if other:
        said = "Somebody with another name logs in so: nobody gets another one's roles."
        outcome.problems.append(Problem(one.line, "LOGIN_TAKEN", said, other[0]))
        return
    outcome.known += 1
    held = {
        (grant.role, grant.unit_id)
        for grant in await work.session.grants_of(person.id)
        if grant.source == LOCAL and grant.valid_from <= work.agent.now
    }
    for role in one.roles:
        unit = units.at(role)
        if not isinstance(unit, Problem) and (role.role, unit.id) in held:
            continue
        try:
            draft, _ = await _judged(work, role, units, person.id)
            await may_be_claimed(work, person)
            await give_grant(work.session, work.agent, draft)
        except (DomainError, Forbidden, _Wrong) as error:
            _refused(outcome, role.line, error)
        else:
            outcome.given += 1


class _Wrong(Exception):
    """A line that names no unit of the tree."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


async def _judged(
    work: Work, role: Role, units: Units, person_id: uuid.UUID
) -> tuple[GrantDraft, Any]:
    """A role as the command takes it and as the policy sees it. Raises DomainError, Forbidden, _Wrong."""
    unit = units.at(role)
    if isinstance(unit, Problem):
        raise _Wrong(unit)
    draft = drafted(work.agent, person_id, role.role, unit.id)
    new = work.new_row(unit, person_id=person_id, role=role.role, valid_until=None)
    await work.create("grant:give", new)
    if await needs_approval(work.session, work.agent, role.role):
        raise NeedsApproval()
    return draft, new


def _refused(outcome: Outcome, line: int, error: Exception) -> None:
    if isinstance(error, _Wrong):
        outcome.problems.append(error.problem)
    elif isinstance(error, Forbidden):
        outcome.forbidden = outcome.forbidden or error
        said = "You may not do this here."
        outcome.problems.append(Problem(line, "FORBIDDEN", said))
    elif isinstance(error, DomainError):
        outcome.problems.append(Problem(line, error.code, error.message))


@strawberry.type
class Mutation:
    @root("person:manage", "Make people with their roles out of a table, all of them or nobody.")
    async def import_people(
        self, info: Info, input: Annotated[ImportPeopleInput, GIVEN]
    ) -> ImportPeoplePayload | None:
        found: list[Outcome] = []

        async def command(work: Work) -> uuid.UUID:
            # What is only looked at is carried out too, as far as it goes: the same rules speak.
            async with work.session.begin_nested() as trial:
                outcome = await take(work, input.table)
                if outcome.problems or input.dry_run:
                    await trial.rollback()
            found.append(outcome)
            top: uuid.UUID = work.context.actor.tree.root
            return top

        async def more(_work: Work, _found: uuid.UUID) -> dict[str, Any]:
            return told(found[0] if found else None)

        return await perform(info._raw_info, "importPeople", UNIT, input, command, extra=more)
