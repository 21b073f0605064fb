"""Clinical notes. The text is stored sealed; a signed note never changes, an amendment is a new version."""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from domain.encounters import OfEncounter, follows_encounter
from domain.model import Stamped, one_of


class NoteKind(StrEnum):
    """Who writes it: nursing notes are a nurse's, the others a provider's."""

    NURSING = "nursing"
    PROGRESS = "progress"


class NoteState(StrEnum):
    """Where the note stands; only its author sees a draft."""

    DRAFT = "draft"
    SIGNED = "signed"
    AMENDED = "amended"
    ENTERED_IN_ERROR = "entered-in-error"


class Note(Stamped, OfEncounter):
    """A note of an encounter. `body_sealed` opens with the tenant's key for `note` and the row's id."""

    __tablename__ = "note"
    __resource__ = "note"
    __table_args__ = (
        one_of("kind", NoteKind),
        one_of("state", NoteState),
        CheckConstraint("(state = 'draft') = (signed_at is null)", name="signed"),
        follows_encounter("note"),
        ForeignKeyConstraint(
            ["tenant_id", "author_id"], ["person.tenant_id", "person.id"], name="fk_note_author"
        ),
        ForeignKeyConstraint(
            ["tenant_id", "amends_id"], ["note.tenant_id", "note.id"], name="fk_note_amends"
        ),
        Index("ix_note_encounter", "tenant_id", "encounter_id", "id"),
        Index("ix_note_patient", "tenant_id", "patient_id", "id"),
    )

    author_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    state: Mapped[str]
    body_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    signed_at: Mapped[dt.datetime | None]
    amends_id: Mapped[uuid.UUID | None]
