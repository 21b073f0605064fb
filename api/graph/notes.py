"""Clinical notes: stored sealed, opened for those who may read them."""

import datetime as dt

import strawberry

from api.graph.encounters import Encounter
from api.graph.people import Person
from api.graph.relay import Node
from api.plan.mapping import FieldGroup, column, computed, enum_name, joined, one, sealed, table
from domain.notes import Note as Notes
from domain.notes import NoteKind, NoteState

strawberry.enum(NoteKind, name="NoteKind", description="Who writes such a note.")
strawberry.enum(NoteState, name="NoteState", description="Where a note stands.")


@table(Notes, description="A clinical note; a draft is seen by its author only.")
class Note(Node):
    kind: NoteKind | None = computed(
        "read", "Nursing or progress.", lambda n, *_: enum_name(n.kind)
    )
    state: NoteState | None = computed(
        "read", "Draft, signed or amended.", lambda n, *_: enum_name(n.state)
    )
    body: str | None = sealed("read", "The text.", attribute="body_sealed", purpose="note")
    created_at: dt.datetime | None = column("read", "When it was begun.")
    signed_at: dt.datetime | None = column("read", "When it was signed; null for a draft.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", joined("id", "author_id"))
    def author(self) -> Person | None:
        """Who wrote it."""

    @one("read", joined("id", "encounter_id"), group=FieldGroup.CLINICAL)
    def encounter(self) -> Encounter | None:
        """The visit it belongs to."""
