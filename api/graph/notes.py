"""Clinical notes: stored sealed, opened for those who may read them."""

import datetime as dt
from typing import Optional

import strawberry

from api.graph.encounters import Encounter, encounter_of
from api.graph.people import Person
from api.graph.relay import First, Node
from api.plan.mapping import (
    FieldGroup,
    column,
    computed,
    enum_name,
    joined,
    many,
    one,
    sealed,
    table,
)
from domain.notes import Amendment, NoteKind, NoteState
from domain.notes import Note as Notes

strawberry.enum(NoteKind, name="NoteKind", description="Who writes such a note.")
strawberry.enum(Amendment, name="NoteAmendment", description="Added to a note, or in its place.")
strawberry.enum(NoteState, name="NoteState", description="Where a note stands.")


@table(Notes, description="A clinical note; a draft is seen by its author only.")
class Note(Node):
    kind: NoteKind | None = computed(
        "read", "Nursing or progress.", lambda n, *_: enum_name(n.kind)
    )
    state: NoteState | None = computed(
        "read", "Draft, signed or amended.", lambda n, *_: enum_name(n.state)
    )
    body: str | None = sealed("read", "A free text.", attribute="body_sealed", purpose="note")
    subjective: str | None = sealed(
        "read", "What the patient says.", attribute="subjective_sealed", purpose="note"
    )
    objective: str | None = sealed(
        "read", "What was found.", attribute="objective_sealed", purpose="note"
    )
    assessment: str | None = sealed(
        "read", "What it is taken for.", attribute="assessment_sealed", purpose="note"
    )
    plan: str | None = sealed(
        "read", "What is to be done.", attribute="plan_sealed", purpose="note"
    )
    amendment: Amendment | None = computed(
        "read",
        "What it does to the note that it is linked to, if to one.",
        lambda n, *_: enum_name(n.amendment),
    )
    created_at: dt.datetime | None = column("read", "When it was begun.")
    signed_at: dt.datetime | None = column("read", "When it was signed; null for a draft.")
    cosigned_at: dt.datetime | None = column("read", "When somebody else signed it too.")
    error_reason: str | None = column("read", "Why it was struck out, if it was.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", joined("id", "author_id"))
    def author(self) -> Person | None:
        """Who wrote it."""

    @one("read", joined("id", "cosigned_by"))
    def cosigner(self) -> Person | None:
        """Who signed it too."""

    @one("read", joined("id", "amends_id"))
    def amends(self) -> Optional["Note"]:
        """The signed note that it adds to or takes the place of."""

    @many("read", joined("amends_id", "id"), group=None, order=lambda n: [n.id])
    def amendments(self, first: First = 20) -> list["Note"] | None:
        """Addenda and amendments of this note, oldest first."""

    @one("read", encounter_of, group=FieldGroup.CLINICAL)
    def encounter(self) -> Encounter | None:
        """The visit it belongs to."""
