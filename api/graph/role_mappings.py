"""Rules by which roles follow from what an identity provider or a directory says of people."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry

from api.graph.encounters import local_id
from api.graph.organization import OrgUnit, unit_of
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.people import Person
from api.graph.relay import GIVEN, After, Connection, First, Info, Node, root, value_type
from api.plan.fetch import page
from api.plan.mapping import column, computed, enum_name, joined, one, table
from api.plan.page import Listing
from api.plan.write import Extra, Payload, Work, perform
from domain.errors import NotFound
from domain.role_mappings import Match
from domain.role_mappings import RoleMapping as RoleMappings
from identity.mapping_sources import Source
from identity.rule_effects import Change, Changes, changes_of
from identity.rules import (
    RuleDraft,
    add_rule,
    check_rule,
    end_rule,
    source_of,
    take_over_rule,
)

LISTING = Listing(RoleMappings, "tenant", "created_at", RoleMappings, descending=True)
RULE = Payload("roleMapping", "RoleMapping", model=RoleMappings)
strawberry.enum(Match, name="RoleMappingMatch", description="How a rule's value is compared.")


@table(
    RoleMappings,
    description="Whoever a source says this of has the role at the node, while it says so.",
)
class RoleMapping(Node):
    source: str | None = column("read", "Whose word counts: `idp` or `scim`.")
    source_ref: str | None = column("read", "Which provider; empty for SCIM.")
    attribute: str | None = column("read", "What is looked at, by SCIM's name.")
    match: Match | None = computed(
        "read", "How the value is compared.", lambda rule, *_: enum_name(rule.match)
    )
    value: str | None = column("read", "The value; in a pattern `*` stands for anything.")
    role: str | None = column("read", "Name of the role.")
    valid_until: dt.datetime | None = column("read", "When it gives nothing any more.")
    ended_at: dt.datetime | None = column("read", "When it was ended; null while it counts.")
    created_at: dt.datetime | None = column("read", "When it was made.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """The node; the role holds below it too."""

    @one("read", joined("id", "created_by"))
    def created_by(self) -> Person | None:
        """Who answers for it: it gives only what they may give there, and nothing to them."""


@strawberry.input(description="A rule.")
class AddRoleMappingInput:
    identity_provider: strawberry.ID | None = strawberry.field(
        default=None, description="Whose word counts; left out for SCIM."
    )
    attribute: str = strawberry.field(description="What is looked at: `groups`, `department` …")
    match: Match = strawberry.field(default=Match.EXACT, description="How the value is compared.")
    value: str = strawberry.field(description="The value; in a pattern `*` stands for anything.")
    role: str = strawberry.field(description="Name of the role: one that you may give there.")
    unit: strawberry.ID = strawberry.field(description="The node.")
    valid_until: dt.datetime | None = strawberry.field(
        default=None, description="When it gives nothing any more."
    )
    preview: bool = strawberry.field(
        default=False, description="Only answer what would change; nothing is done."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="The end of a rule.")
class EndRoleMappingInput:
    id: strawberry.ID = strawberry.field(description="The rule.")
    version: int = strawberry.field(description="The version that the change is based on.")
    preview: bool = strawberry.field(
        default=False, description="Only answer what would change; nothing is done."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Somebody who answers for a rule from now on.")
class TakeOverRoleMappingInput:
    id: strawberry.ID = strawberry.field(description="The rule.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("Somebody who gains or loses a role by a change of the rules, or is refused it.")
class RoleChange:
    person: strawberry.ID = strawberry.field(description="The person.")
    given_name: str = strawberry.field(description="Given names.")
    family_name: str = strawberry.field(description="Family name.")
    code: str | None = strawberry.field(description="Why they are refused it; null otherwise.")


@value_type("What a change of the rules brings with it, by what was last said of people.")
class RoleMappingEffects:
    gaining: list[RoleChange] = strawberry.field(
        description="Who will have the role: the first thousand by name."
    )
    losing: list[RoleChange] = strawberry.field(
        description="Who will lose it: the first thousand by name."
    )
    refused: list[RoleChange] = strawberry.field(
        description="Of whom it is said and who is not given it: the first thousand by name."
    )
    gaining_count: int = strawberry.field(description="How many will have it.")
    losing_count: int = strawberry.field(description="How many will lose it.")
    refused_count: int = strawberry.field(description="How many are not given it.")


@value_type("The rule, and what its change brings with it.")
class RoleMappingPayload:
    role_mapping: RoleMapping | None = strawberry.field(
        description="The rule; null where it was only asked what adding it would change."
    )
    effects: RoleMappingEffects | None = strawberry.field(
        description="What changes; null where a request is repeated that was carried out."
    )
    user_errors: list[UserError] = payload_errors()


@value_type("The rule.")
class TakeOverRoleMappingPayload:
    role_mapping: RoleMapping | None = strawberry.field(description="The rule.")
    user_errors: list[UserError] = payload_errors()


def _answered(found: list[Changes]) -> Extra:
    """What a change brings with it, worked out by the command before it is done."""

    def one(change: Change) -> dict[str, Any]:
        return {
            "__typename": "RoleChange",
            "person": f"Person:{change.person_id}",
            "givenName": change.given_name,
            "familyName": change.family_name,
            "code": change.code,
        }

    async def extra(_: Work, __: uuid.UUID) -> dict[str, Any]:
        if not found:
            return {"effects": None}
        (changes,) = found
        told = {
            "__typename": "RoleMappingEffects",
            "gaining": [one(change) for change in changes.gaining],
            "losing": [one(change) for change in changes.losing],
            "refused": [one(change) for change in changes.refused],
            "gainingCount": changes.gain,
            "losingCount": changes.lose,
            "refusedCount": changes.refuse,
        }
        return {"effects": told}

    return extra


@strawberry.type
class Query:
    @root("tenant:read", "Rules from what sources say to roles, the newest first.")
    async def role_mappings(
        self, info: Info, first: First = 50, after: After = None
    ) -> Connection[RoleMapping] | None:
        return await page(
            info._raw_info,
            LISTING,
            node=None,
            first=first,
            after=after,
        )


@strawberry.type
class Mutation:
    @root("tenant:configure", "Make a rule: a role that you may give, for whom a source names.")
    async def add_role_mapping(
        self, info: Info, input: Annotated[AddRoleMappingInput, GIVEN]
    ) -> RoleMappingPayload | None:
        found: list[Changes] = []

        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            new = work.new_row(unit, person_id=None, role=input.role)
            agent = await work.create("tenant:configure", new)
            # Whoever may not give the role there may not have it given either.
            await work.create("grant:give", new)
            known, provider = local_id(input.identity_provider, "IdentityProvider")
            if not known:
                raise NotFound(path=("identityProvider",))
            source = await source_of(work.session, agent, provider)
            draft = RuleDraft(
                source,
                input.attribute,
                input.match,
                input.value,
                input.role,
                unit.id,
                input.valid_until,
            )
            await check_rule(work.session, agent, draft)
            found.append(await changes_of(work.context.cell, agent, source, adding=draft))
            if input.preview:
                return work.new_id
            return (await add_rule(work.session, agent, draft, work.new_id)).id

        return await perform(
            info._raw_info, "addRoleMapping", RULE, input, command, extra=_answered(found)
        )

    @root("tenant:configure", "End a rule: what it gave is taken away at once.")
    async def end_role_mapping(
        self, info: Info, input: Annotated[EndRoleMappingInput, GIVEN]
    ) -> RoleMappingPayload | None:
        found: list[Changes] = []

        async def command(work: Work) -> uuid.UUID:
            rule = await work.load(RoleMappings, input.id, "RoleMapping")
            agent = await work.require("tenant:configure", rule)
            source = Source(rule.source, rule.source_ref)
            found.append(await changes_of(work.context.cell, agent, source, ending=rule))
            if input.preview:
                return rule.id
            return (await end_rule(work.session, agent, rule, input.version)).id

        return await perform(
            info._raw_info, "endRoleMapping", RULE, input, command, extra=_answered(found)
        )

    @root("tenant:configure", "Answer for a rule in place of its author, who may have left.")
    async def take_over_role_mapping(
        self, info: Info, input: Annotated[TakeOverRoleMappingInput, GIVEN]
    ) -> TakeOverRoleMappingPayload | None:
        async def command(work: Work) -> uuid.UUID:
            rule = await work.load(RoleMappings, input.id, "RoleMapping")
            agent = await work.require("tenant:configure", rule)
            unit = work.unit(f"OrgUnit:{rule.unit_id}", "unit")
            # Whoever may not give the role there may not answer for it either.
            await work.create("grant:give", work.new_row(unit, person_id=None, role=rule.role))
            return (await take_over_rule(work.session, agent, rule, input.version)).id

        return await perform(info._raw_info, "takeOverRoleMapping", RULE, input, command)
