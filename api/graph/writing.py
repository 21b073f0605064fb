"""Writing, signing, amending and co-signing notes."""

import uuid
from typing import Annotated, Any

import strawberry

from api.graph.notes import Note
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform, perform_on
from domain.encounters import Encounter as Encounters
from domain.notes import (
    Amendment,
    NoteKind,
    Text,
    amend,
    cosign,
    revise,
    sign,
    write_draft,
)
from domain.notes import Note as Notes

NOTE = Payload("note", "Note", model=Notes)


@strawberry.input(description="A draft of a note: a text, sections, or both.")
class WriteNoteInput:
    encounter: strawberry.ID = strawberry.field(description="The visit it belongs to.")
    kind: NoteKind = strawberry.field(description="Nursing or progress.")
    body: str | None = strawberry.field(default=None, description="A free text; stored sealed.")
    subjective: str | None = strawberry.field(default=None, description="What the patient says.")
    objective: str | None = strawberry.field(default=None, description="What was found.")
    assessment: str | None = strawberry.field(default=None, description="What it is taken for.")
    plan: str | None = strawberry.field(default=None, description="What is to be done.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Another text for one's own draft.")
class ReviseNoteInput:
    id: strawberry.ID = strawberry.field(description="The note.")
    version: int = strawberry.field(description="The version that the change is based on.")
    body: str | None = strawberry.field(default=None, description="A free text; stored sealed.")
    subjective: str | None = strawberry.field(default=None, description="What the patient says.")
    objective: str | None = strawberry.field(default=None, description="What was found.")
    assessment: str | None = strawberry.field(default=None, description="What it is taken for.")
    plan: str | None = strawberry.field(default=None, description="What is to be done.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(
    description="What is to be added to one's own signed note, or takes its place once it is signed."
)
class AmendNoteInput:
    id: strawberry.ID = strawberry.field(description="The signed note.")
    version: int = strawberry.field(description="The version that it is based on.")
    amendment: Amendment = strawberry.field(description="ADDENDUM adds, AMENDMENT takes the place.")
    body: str | None = strawberry.field(default=None, description="A free text; stored sealed.")
    subjective: str | None = strawberry.field(default=None, description="What the patient says.")
    objective: str | None = strawberry.field(default=None, description="What was found.")
    assessment: str | None = strawberry.field(default=None, description="What it is taken for.")
    plan: str | None = strawberry.field(default=None, description="What is to be done.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A signature under one's own draft.")
class SignNoteInput:
    id: strawberry.ID = strawberry.field(description="The note.")
    version: int = strawberry.field(description="The version that is signed.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A signature beneath somebody else's signed note.")
class CosignNoteInput:
    id: strawberry.ID = strawberry.field(description="The note.")
    version: int = strawberry.field(description="The version that is signed.")
    idempotency_key: str | None = idempotency_key()


@value_type("The draft.")
class WriteNotePayload:
    note: Note | None = strawberry.field(description="The note.")
    user_errors: list[UserError] = payload_errors()


@value_type("The changed draft.")
class ReviseNotePayload:
    note: Note | None = strawberry.field(description="The note.")
    user_errors: list[UserError] = payload_errors()


@value_type("The draft that is linked to the signed note.")
class AmendNotePayload:
    note: Note | None = strawberry.field(description="The note.")
    user_errors: list[UserError] = payload_errors()


@value_type("The signed note.")
class SignNotePayload:
    note: Note | None = strawberry.field(description="The note.")
    user_errors: list[UserError] = payload_errors()


@value_type("The co-signed note.")
class CosignNotePayload:
    note: Note | None = strawberry.field(description="The note.")
    user_errors: list[UserError] = payload_errors()


def draft(work: Work, unit_id: uuid.UUID, kind: NoteKind) -> Any:
    """A note of one's own about to be begun, as far as the policy looks at it."""
    unit = work.context.actor.tree.units[unit_id]
    return work.new_row(unit, kind=kind.value, state="draft", author_id=work.agent.person_id)


def text_of(given: Any) -> Text:
    """What an input says."""
    return Text(given.body, given.subjective, given.objective, given.assessment, given.plan)


@strawberry.type
class Mutation:
    @root("note:write_draft", "Begin a note; only you see it until you sign it.")
    async def write_note(
        self, info: Info, input: Annotated[WriteNoteInput, GIVEN]
    ) -> WriteNotePayload | None:
        async def command(work: Work) -> uuid.UUID:
            encounter = await work.load(Encounters, input.encounter, "Encounter", "encounter")
            agent = await work.create(
                "note:write_draft", draft(work, encounter.unit_id, input.kind)
            )
            note = await write_draft(
                work.session,
                agent,
                await work.sealer(),
                encounter,
                input.kind,
                text_of(input),
                note_id=work.new_id,
            )
            return note.id

        return await perform(info._raw_info, "writeNote", NOTE, input, command)

    @root(
        "note:amend",
        "Begin an addendum or amendment of your own signed note; sign it as any draft.",
    )
    async def amend_note(
        self, info: Info, input: Annotated[AmendNoteInput, GIVEN]
    ) -> AmendNotePayload | None:
        async def command(work: Work) -> uuid.UUID:
            signed = await work.load(Notes, input.id, "Note")
            agent = await work.require("note:amend", signed)
            note = await amend(
                work.session,
                agent,
                await work.sealer(),
                signed,
                input.version,
                input.amendment,
                text_of(input),
                note_id=work.new_id,
            )
            return note.id

        return await perform(info._raw_info, "amendNote", NOTE, input, command)

    @root("note:write_draft", "Put another text into your own draft.")
    async def revise_note(
        self, info: Info, input: Annotated[ReviseNoteInput, GIVEN]
    ) -> ReviseNotePayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Notes, input.id, "Note")
            agent = await work.require("note:write_draft", row)
            changed = await revise(
                work.session, agent, await work.sealer(), row, input.version, text_of(input)
            )
            return changed.id

        return await perform(info._raw_info, "reviseNote", NOTE, input, command)

    @root("note:sign", "Sign your own draft; from then on it never changes.")
    async def sign_note(
        self, info: Info, input: Annotated[SignNoteInput, GIVEN]
    ) -> SignNotePayload | None:
        return await perform_on(info._raw_info, "signNote", NOTE, input, "note:sign", sign)

    @root("note:cosign", "Sign somebody else's signed note too, as a practitioner.")
    async def cosign_note(
        self, info: Info, input: Annotated[CosignNoteInput, GIVEN]
    ) -> CosignNotePayload | None:
        return await perform_on(info._raw_info, "cosignNote", NOTE, input, "note:cosign", cosign)
