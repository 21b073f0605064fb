"""Striking out what was entered in error, whatever it is: one mutation for everything with a state of that name."""

import uuid
from typing import Annotated, Any

import strawberry

from api.graph.nodes import mapped_type
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, Node, root, value_type
from api.plan.mapping import mapped, parse_id
from api.plan.write import Payload, Work, perform
from domain.entered_in_error import mark_entered_in_error
from domain.errors import NotFound
from domain.state_tables import Stateful


@strawberry.input(description="Something that was entered in error.")
class MarkEnteredInErrorInput:
    id: strawberry.ID = strawberry.field(
        description="An encounter, note, observation, condition, allergy, medication, procedure or immunization."
    )
    version: int = strawberry.field(description="The version that the change is based on.")
    reason: str = strawberry.field(description="Why; it stays with what is struck out.")
    idempotency_key: str | None = idempotency_key()


@value_type("What is struck out now.")
class MarkEnteredInErrorPayload:
    record: Node | None = strawberry.field(description="The record, struck out.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root(
        "own",
        "Strike out what was entered in error: kept with the reason, hidden unless asked for.",
    )
    async def mark_entered_in_error(
        self, info: Info, input: Annotated[MarkEnteredInErrorInput, GIVEN]
    ) -> MarkEnteredInErrorPayload | None:
        parsed = parse_id(input.id)
        type_ = mapped_type(info._raw_info.schema, parsed[0]) if parsed else None
        table = mapped(type_) if type_ else None
        model: Any = table.model if table else None
        known = table is not None and issubclass(model, Stateful)
        # What is no record of a chart is answered, and kept on record, as an encounter that is not there.
        resource, prefix = (
            (table.resource, table.prefix) if table and known else ("encounter", "Encounter")
        )
        action = f"{resource}:mark_entered_in_error"

        async def command(work: Work) -> uuid.UUID:
            if not known:
                raise NotFound(path=("id",))
            row = await work.load(model, input.id, prefix)
            agent = await work.require(action, row)
            struck: Any = await mark_entered_in_error(
                work.session, agent, row, input.version, input.reason
            )
            found: uuid.UUID = struck.id
            return found

        payload = Payload("record", prefix, action=action)
        return await perform(info._raw_info, "markEnteredInError", payload, input, command)
