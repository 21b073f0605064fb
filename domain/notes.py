"""Clinical notes. The text is stored sealed; a signed note never changes, an amendment is a new version."""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent, record
from domain.encounters import Encounter, OfEncounter, documentable, follows_encounter
from domain.errors import IllegalMove, Invalid, NotAllowed
from domain.keys import Sealer
from domain.model import Stamped, new_id, one_of
from domain.plain_text import passage
from domain.practitioners import practising
from domain.versions import change

BODY = "note.body_sealed"


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


class NotTheAuthor(NotAllowed):
    """Only who wrote the draft may change or sign it."""

    code = "NOT_THE_AUTHOR"

    def __init__(self) -> None:
        super().__init__("Only the author of a draft may do this.")


async def write_draft(
    session: AsyncSession,
    agent: Agent,
    sealer: Sealer,
    encounter: Encounter,
    kind: NoteKind,
    body: str,
    *,
    note_id: uuid.UUID | None = None,
) -> Note:
    """Begin a note of an encounter; only its author sees it until it is signed. The text is stored sealed.

    Anybody whom the policy lets may draft; signing asks for a practitioner. Raises Invalid. Writes note.
    """
    if agent.person_id is None:
        raise Invalid("Only people write notes.")
    at = documentable(encounter)
    key = note_id or new_id()
    note = Note(
        tenant_id=agent.tenant_id,
        id=key,
        clinic_id=at.clinic_id,
        unit_id=at.unit_id,
        patient_id=at.patient_id,
        encounter_id=at.id,
        sensitivity=at.sensitivity,
        author_id=agent.person_id,
        kind=kind.value,
        state=NoteState.DRAFT.value,
        body_sealed=sealer.seal(BODY, key, passage(body, "body").encode()),
        signed_at=None,
        amends_id=None,
    )
    session.add(note)
    await session.flush()
    record(session, agent, "note:write_draft", note.id, at.id, clinic_id=note.clinic_id)
    return note


async def revise(
    session: AsyncSession, agent: Agent, sealer: Sealer, note: Note, version: int, body: str
) -> Note:
    """Replace the text of one's own draft. Raises NotTheAuthor, IllegalMove once signed, StaleVersion, Invalid."""
    own_draft(agent, note, NoteState.DRAFT)
    sealed = sealer.seal(BODY, note.id, passage(body, "body").encode())
    changed = await change(session, agent, note, version, body_sealed=sealed)
    record(session, agent, "note:write_draft", changed.id, clinic_id=changed.clinic_id)
    return changed


async def sign(session: AsyncSession, agent: Agent, note: Note, version: int) -> Note:
    """Sign one's own draft as a practitioner; from then on it never changes.

    Raises NotTheAuthor, NotAPractitioner, IllegalMove when it is signed already, StaleVersion. Writes note.
    """
    own_draft(agent, note, NoteState.SIGNED)
    await practising(session, agent)
    signed = await change(
        session, agent, note, version, state=NoteState.SIGNED.value, signed_at=agent.now
    )
    record(session, agent, "note:sign", signed.id, signed.encounter_id, clinic_id=signed.clinic_id)
    return signed


def own_draft(agent: Agent, note: Note, wanted: NoteState) -> None:
    """Raises NotTheAuthor for somebody else's note, IllegalMove for one that is no draft any more."""
    if note.author_id != agent.person_id:
        raise NotTheAuthor()
    if note.state != NoteState.DRAFT:
        raise IllegalMove("note", note.state, wanted.value)
