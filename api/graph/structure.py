"""Changing the tree: new units, names, clinics that move between regions, units that close."""

import uuid
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry

from api.graph.organization import OrgUnit
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Extra, Payload, Work, perform
from domain.organization import (
    Level,
    add_unit,
    can_move,
    close_unit,
    move_clinic,
    rename_unit,
)
from domain.organization import OrgUnit as OrgUnits
from identity.sight import Effects, Holder, of_closing, of_moving

UNIT = Payload("orgUnit", "OrgUnit")


@strawberry.input(description="A new unit.")
class CreateOrgUnitInput:
    parent: strawberry.ID = strawberry.field(description="The unit above it.")
    name: str = strawberry.field(description="What people will call it.")
    level: Level | None = strawberry.field(
        default=None,
        description="What it is; by default the next level below the parent's. Below the health system a clinic can lie too.",
    )
    zone: str | None = strawberry.field(
        default=None, description="IANA time zone; a clinic needs one."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Another name for a unit.")
class RenameOrgUnitInput:
    id: strawberry.ID = strawberry.field(description="The unit.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: str = strawberry.field(description="What people will call it.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A clinic that comes to lie below another region.")
class MoveClinicInput:
    id: strawberry.ID = strawberry.field(description="The clinic.")
    version: int = strawberry.field(description="The version that the change is based on.")
    region: strawberry.ID = strawberry.field(description="The region below which it will lie.")
    preview: bool = strawberry.field(
        default=False, description="Only answer what would change; nothing is done."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A unit that closes.")
class CloseOrgUnitInput:
    id: strawberry.ID = strawberry.field(description="The unit.")
    version: int = strawberry.field(description="The version that the change is based on.")
    preview: bool = strawberry.field(
        default=False, description="Only answer what would change; nothing is done."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("Somebody who gains or loses sight of a clinic by a role above it.")
class SightChange:
    person: strawberry.ID = strawberry.field(description="The person.")
    given_name: str = strawberry.field(description="Given names.")
    family_name: str = strawberry.field(description="Family name.")
    role: str = strawberry.field(description="Name of the role.")
    unit: strawberry.ID = strawberry.field(description="The node at which they hold it.")


@value_type("What a change of the tree brings with it, as far as you may read it.")
class OrgUnitEffects:
    patients: int = strawberry.field(description="How many patients are seen there.")
    appointments: int = strawberry.field(description="How many appointments are still to come.")
    encounters: int = strawberry.field(description="How many visits there are not over.")
    gaining: list[SightChange] = strawberry.field(description="Who will see it.")
    losing: list[SightChange] = strawberry.field(description="Who will see it no more.")


@value_type("The unit.")
class OrgUnitPayload:
    org_unit: OrgUnit | None = strawberry.field(description="The unit.")
    user_errors: list[UserError] = payload_errors()


@value_type("The unit, and what its change brings with it.")
class OrgUnitChangePayload:
    org_unit: OrgUnit | None = strawberry.field(description="The unit.")
    effects: OrgUnitEffects | None = strawberry.field(
        description="What changes; null where a request is repeated that was carried out."
    )
    user_errors: list[UserError] = payload_errors()


def told(effects: Effects | None) -> dict[str, Any]:
    """The payload's field `effects`."""
    if effects is None:
        return {"effects": None}

    def holder(one: Holder) -> dict[str, Any]:
        return {
            "__typename": "SightChange",
            "person": f"Person:{one.person_id}",
            "givenName": one.given_name,
            "familyName": one.family_name,
            "role": one.role,
            "unit": f"OrgUnit:{one.unit_id}",
        }

    return {
        "effects": {
            "__typename": "OrgUnitEffects",
            "patients": effects.patients,
            "appointments": effects.appointments,
            "encounters": effects.encounters,
            "gaining": [holder(one) for one in effects.gaining],
            "losing": [holder(one) for one in effects.losing],
        }
    }


def answered(found: list[Effects]) -> Extra:
    """What a change brings with it, worked out by the command before it is done."""

    async def extra(_: Work, __: uuid.UUID) -> dict[str, Any]:
        return told(found[0] if found else None)

    return extra


def below(work: Work, parent: OrgUnits) -> Any:
    """A unit below the parent as far as the policy looks at it."""
    return SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id, parent_id=parent.id)


@strawberry.type
class Mutation:
    @root("org_unit:create", "Make a unit below one of yours.")
    async def create_org_unit(
        self, info: Info, input: Annotated[CreateOrgUnitInput, GIVEN]
    ) -> OrgUnitPayload | None:
        async def command(work: Work) -> uuid.UUID:
            parent = await work.load(OrgUnits, input.parent, "OrgUnit", "parent")
            agent = await work.create("org_unit:create", below(work, parent))
            work.tree_changes += 1
            made = await add_unit(
                work.session,
                agent,
                parent,
                input.name,
                level=input.level,
                zone=input.zone,
                unit_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "createOrgUnit", UNIT, input, command)

    @root("org_unit:create", "Give a unit below one of yours another name.")
    async def rename_org_unit(
        self, info: Info, input: Annotated[RenameOrgUnitInput, GIVEN]
    ) -> OrgUnitPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = await work.load(OrgUnits, input.id, "OrgUnit")
            agent = await work.require("org_unit:create", unit)
            work.tree_changes += 1
            return (await rename_unit(work.session, agent, unit, input.name, input.version)).id

        return await perform(info._raw_info, "renameOrgUnit", UNIT, input, command)

    @root("org_unit:move", "Let a clinic lie below another region; both have to be yours.")
    async def move_clinic(
        self, info: Info, input: Annotated[MoveClinicInput, GIVEN]
    ) -> OrgUnitChangePayload | None:
        found: list[Effects] = []

        async def command(work: Work) -> uuid.UUID:
            clinic = await work.load(OrgUnits, input.id, "OrgUnit")
            region = await work.load(OrgUnits, input.region, "OrgUnit", "region")
            await work.require("org_unit:move", clinic)
            agent = await work.require("org_unit:move", below(work, region))
            can_move(clinic, region)
            tree = work.context.actor.tree
            found.append(await of_moving(work.session, agent, tree, clinic, region))
            if input.preview:
                return clinic.id
            work.tree_changes += 1
            return (await move_clinic(work.session, agent, clinic, region, input.version)).id

        return await perform(
            info._raw_info, "moveClinic", UNIT, input, command, extra=answered(found)
        )

    @root("org_unit:close", "Close a unit below one of yours; its records stay readable.")
    async def close_org_unit(
        self, info: Info, input: Annotated[CloseOrgUnitInput, GIVEN]
    ) -> OrgUnitChangePayload | None:
        found: list[Effects] = []

        async def command(work: Work) -> uuid.UUID:
            unit = await work.load(OrgUnits, input.id, "OrgUnit")
            agent = await work.require("org_unit:close", unit)
            found.append(await of_closing(work.session, agent, unit))
            if input.preview:
                return unit.id
            work.tree_changes += 1
            return (await close_unit(work.session, agent, unit, input.version)).id

        return await perform(
            info._raw_info, "closeOrgUnit", UNIT, input, command, extra=answered(found)
        )
