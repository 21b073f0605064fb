"""Clinical notes: a text, or sections by SOAP, stored sealed.

A signed note never changes: what is to be added or put right is a note of its own, linked to it.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent, record
from domain.encounters import Encounter, OfEncounter, documentable, follows_encounter
from domain.errors import IllegalMove, Invalid, NotAllowed, NotFound, StaleVersion
from domain.keys import Sealer
from domain.model import Stamped, new_id, one_of
from domain.plain_text import passage
from domain.practitioners import practising
from domain.state_tables import Stateful, become, table
from domain.versions import change

PARTS = ("body", "subjective", "objective", "assessment", "plan")


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


class Amendment(StrEnum):
    """What a note does to the one that it is linked to: an addendum adds to it, an amendment takes its place."""

    ADDENDUM = "addendum"
    AMENDMENT = "amendment"


@dataclass(frozen=True)
class Text:
    """What a note says: freely, or section by section, or both. https://www.ncbi.nlm.nih.gov/books/NBK482263/"""

    body: str | None = None
    subjective: str | None = None
    objective: str | None = None
    assessment: str | None = None
    plan: str | None = None


class Note(Stateful, Stamped, OfEncounter):
    """A note of an encounter. Its sealed columns open with the tenant's key for `note` and the row's id."""

    __tablename__ = "note"
    __resource__ = "note"
    __states__ = table("note", NoteState, never=("draft",), draft=("signed",), signed=("amended",))
    __table_args__ = (
        *__states__.constraints(),
        one_of("kind", NoteKind),
        one_of("amendment", Amendment),
        CheckConstraint("(state = 'draft') = (signed_at is null)", name="signed"),
        CheckConstraint(
            "num_nonnulls(body_sealed, subjective_sealed, objective_sealed, assessment_sealed,"
            " plan_sealed) > 0",
            name="text",
        ),
        CheckConstraint("(amendment is null) = (amends_id is null)", name="amends"),
        CheckConstraint("(cosigned_by is null) = (cosigned_at is null)", name="cosigned"),
        CheckConstraint("cosigned_by <> author_id and cosigned_at >= signed_at", name="cosigner"),
        follows_encounter("note"),
        ForeignKeyConstraint(
            ["tenant_id", "author_id"], ["person.tenant_id", "person.id"], name="fk_note_author"
        ),
        ForeignKeyConstraint(
            ["tenant_id", "amends_id"], ["note.tenant_id", "note.id"], name="fk_note_amends"
        ),
        ForeignKeyConstraint(
            ["tenant_id", "cosigned_by"],
            ["person.tenant_id", "person.id"],
            name="fk_note_cosigned_by",
        ),
        Index("ix_note_encounter", "tenant_id", "encounter_id", "id"),
        Index("ix_note_patient", "tenant_id", "patient_id", "id"),
        Index(
            "ix_note_amends",
            "tenant_id",
            "amends_id",
            "id",
            postgresql_where=text("amends_id is not null"),
        ),
    )

    author_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    state: Mapped[str]
    body_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    subjective_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    objective_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    assessment_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    plan_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    signed_at: Mapped[dt.datetime | None]
    amends_id: Mapped[uuid.UUID | None]
    amendment: Mapped[str | None]
    cosigned_by: Mapped[uuid.UUID | None]
    cosigned_at: Mapped[dt.datetime | None]


class NotTheAuthor(NotAllowed):
    """Only who wrote the draft may change or sign it."""

    code = "NOT_THE_AUTHOR"

    def __init__(self) -> None:
        super().__init__("Only the author of a draft may do this.")


class OwnNote(NotAllowed):
    """A co-signature is somebody else's."""

    code = "OWN_NOTE"

    def __init__(self) -> None:
        super().__init__("Somebody else co-signs a note.")


async def write_draft(
    session: AsyncSession,
    agent: Agent,
    sealer: Sealer,
    encounter: Encounter,
    kind: NoteKind,
    said: Text,
    *,
    note_id: uuid.UUID | None = None,
) -> Note:
    """Begin a note of an encounter; only its author sees it until it is signed. The text is stored sealed.

    Anybody whom the policy lets may draft; signing asks for a practitioner. Raises Invalid. Writes note.
    """
    at = documentable(encounter)
    return await _draft(session, agent, sealer, at, kind, said, note_id)


async def amend(
    session: AsyncSession,
    agent: Agent,
    sealer: Sealer,
    note: Note,
    version: int,
    how: Amendment,
    said: Text,
    *,
    note_id: uuid.UUID | None = None,
) -> Note:
    """Begin an addendum to one's own signed note, or the amendment that takes its place once it is signed.

    Raises NotTheAuthor, IllegalMove for a draft and where a later amendment is to be amended, StaleVersion, Invalid.
    Writes note.
    """
    if note.author_id != agent.person_id:
        raise NotTheAuthor()
    if how is Amendment.AMENDMENT or note.state not in (NoteState.SIGNED, NoteState.AMENDED):
        Note.__states__.move(note.state, NoteState.AMENDED)
    if note.version != version:
        raise StaleVersion(note.version)
    kind = NoteKind(note.kind)
    return await _draft(session, agent, sealer, note, kind, said, note_id, amends=(note.id, how))


async def _draft(
    session: AsyncSession,
    agent: Agent,
    sealer: Sealer,
    at: Encounter | Note,
    kind: NoteKind,
    said: Text,
    note_id: uuid.UUID | None,
    *,
    amends: tuple[uuid.UUID, Amendment] | None = None,
) -> Note:
    if agent.person_id is None:
        raise Invalid("Only people write notes.")
    key = note_id or new_id()
    encounter_id = at.encounter_id if isinstance(at, Note) else at.id
    note = Note(
        tenant_id=agent.tenant_id,
        id=key,
        clinic_id=at.clinic_id,
        unit_id=at.unit_id,
        patient_id=at.patient_id,
        encounter_id=encounter_id,
        sensitivity=at.sensitivity,
        author_id=agent.person_id,
        kind=kind.value,
        state=NoteState.DRAFT.value,
        signed_at=None,
        amends_id=amends and amends[0],
        amendment=amends and amends[1].value,
        **_sealed(sealer, key, said),
    )
    session.add(note)
    await session.flush()
    action = "note:write_draft" if amends is None else "note:amend"
    about = encounter_id if amends is None else amends[0]
    record(session, agent, action, note.id, about, clinic_id=note.clinic_id)
    return note


def _sealed(sealer: Sealer, key: uuid.UUID, said: Text) -> dict[str, bytes | None]:
    """The sealed columns of a text. Raises Invalid where it says nothing."""
    plain = {part: getattr(said, part) for part in PARTS}
    if not any((value or "").strip() for value in plain.values()):
        raise Invalid("This must not be empty.", path=("body",))
    return {
        f"{part}_sealed": sealer.seal(f"note.{part}_sealed", key, passage(value, part).encode())
        if value and value.strip()
        else None
        for part, value in plain.items()
    }


async def revise(
    session: AsyncSession, agent: Agent, sealer: Sealer, note: Note, version: int, said: Text
) -> Note:
    """Replace the text of one's own draft. Raises NotTheAuthor, IllegalMove once signed, StaleVersion, Invalid."""
    own_draft(agent, note, NoteState.DRAFT)
    changed = await change(session, agent, note, version, **_sealed(sealer, note.id, said))
    record(session, agent, "note:write_draft", changed.id, clinic_id=changed.clinic_id)
    return changed


async def sign(session: AsyncSession, agent: Agent, note: Note, version: int) -> Note:
    """Sign one's own draft as a practitioner; from then on it never changes. What it amends is amended from now on.

    Raises NotTheAuthor, NotAPractitioner, IllegalMove when it is signed already or what it amends is not as it was,
    StaleVersion. Writes note.
    """
    own_draft(agent, note, NoteState.SIGNED)
    await practising(session, agent)
    signed = await become(session, agent, note, version, NoteState.SIGNED, signed_at=agent.now)
    if signed.amendment == Amendment.AMENDMENT:
        key = (signed.tenant_id, signed.amends_id)
        amended = await session.get(Note, key, populate_existing=True)
        if amended is None:
            raise NotFound()
        await become(session, agent, amended, amended.version, NoteState.AMENDED)
    record(session, agent, "note:sign", signed.id, signed.encounter_id, clinic_id=signed.clinic_id)
    return signed


async def cosign(session: AsyncSession, agent: Agent, note: Note, version: int) -> Note:
    """Put one's own name beneath another's signed note, as a practitioner. The note itself stays as it is.

    Raises OwnNote, NotAPractitioner, IllegalMove for what is not signed, Invalid (ALREADY_COSIGNED), StaleVersion.
    Writes note.
    """
    if note.author_id == agent.person_id:
        raise OwnNote()
    if note.state not in (NoteState.SIGNED, NoteState.AMENDED):
        raise IllegalMove("note", note.state, "co-signed")
    if note.cosigned_by is not None:
        raise Invalid("It is co-signed already.", path=("id",), code="ALREADY_COSIGNED")
    await practising(session, agent)
    values = {"cosigned_by": agent.person_id, "cosigned_at": agent.now}
    cosigned = await change(session, agent, note, version, **values)
    record(session, agent, "note:cosign", cosigned.id, clinic_id=cosigned.clinic_id)
    return cosigned


def own_draft(agent: Agent, note: Note, wanted: NoteState) -> None:
    """Raises NotTheAuthor for somebody else's note, IllegalMove for one that is no draft any more."""
    if note.author_id != agent.person_id:
        raise NotTheAuthor()
    if note.state != NoteState.DRAFT:
        raise IllegalMove("note", note.state, wanted.value)
