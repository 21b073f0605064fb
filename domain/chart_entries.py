"""What allergies, medications, procedures and immunizations share: a coded entry of a patient's chart at a place.

An entry is written at an encounter and then lies where that does, or at a place alone: what a patient tells of earlier
days, or brings along, belongs to no visit.
"""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ForeignKeyConstraint, Index, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent, record
from domain.codings import Coded
from domain.encounters import Encounter, documentable
from domain.model import OfPatient, Stamped, new_id
from domain.organization import Place
from domain.patients import seen_at
from domain.state_tables import Stateful, revised
from domain.versions import change


class ChartEntry(Stateful, Coded, Stamped, OfPatient):
    """A coded entry: since when it is true (`effective_at`), who wrote it down, and the visit it was written at."""

    __abstract__ = True

    encounter_id: Mapped[uuid.UUID | None] = mapped_column(sort_order=-94)
    effective_at: Mapped[dt.datetime] = mapped_column(sort_order=20)
    recorded_by: Mapped[uuid.UUID | None] = mapped_column(sort_order=79)

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        columns = ("clinic_id", "unit_id", "patient_id", "sensitivity")
        return (
            *cls.__states__.constraints(),
            ForeignKeyConstraint(
                ["tenant_id", "encounter_id", *columns],
                ["encounter.tenant_id", "encounter.id", *(f"encounter.{c}" for c in columns)],
                name=f"fk_{name}_encounter",
                onupdate="CASCADE",
            ),
            ForeignKeyConstraint(
                ["tenant_id", "recorded_by"],
                ["person.tenant_id", "person.id"],
                name=f"fk_{name}_recorded_by",
            ),
            Index(f"ix_{name}_patient", "tenant_id", "patient_id", "effective_at", "id"),
            Index(
                f"ix_{name}_encounter",
                "tenant_id",
                "encounter_id",
                "id",
                postgresql_where=text("encounter_id is not null"),
            ),
            *cls.own(name),
        )

    @classmethod
    def own(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - the name is for those who override
        """Constraints of this kind of entry alone."""
        return ()


Entry = TypeVar("Entry", bound=ChartEntry)


@dataclass(frozen=True)
class Spot:
    """Where in which patient's chart something is written."""

    clinic_id: uuid.UUID
    unit_id: uuid.UUID
    patient_id: uuid.UUID
    sensitivity: int
    encounter_id: uuid.UUID | None = None


def at_encounter(encounter: Encounter) -> Spot:
    """The place of an encounter. Raises Invalid for one at which nothing is documented any more."""
    at = documentable(encounter)
    return Spot(at.clinic_id, at.unit_id, at.patient_id, at.sensitivity, at.id)


async def at_place(
    session: AsyncSession, agent: Agent, patient_id: uuid.UUID, place: Place
) -> Spot:
    """A clinic or department where the patient is seen. Raises NotFound. Writes patient_site, as `seen_at`."""
    seen = await seen_at(session, agent, patient_id, place)
    return Spot(seen.clinic_id, seen.unit_id, seen.patient_id, seen.sensitivity)


async def enter(
    session: AsyncSession,
    agent: Agent,
    model: type[Entry],
    spot: Spot,
    state: StrEnum,
    entry_id: uuid.UUID | None,
    **values: Any,
) -> Entry:
    """Write an entry in its first state, with its audit event (`<resource>:record`). Raises IllegalMove."""
    entry = model(
        tenant_id=agent.tenant_id,
        id=entry_id or new_id(),
        **asdict(spot),
        **{model.__states__.column: model.__states__.first(state), "state_before": None},
        error_reason=None,
        recorded_by=agent.person_id,
        **values,
    )
    session.add(entry)
    await session.flush()
    at = () if spot.encounter_id is None else (spot.encounter_id,)
    record(
        session,
        agent,
        f"{model.__resource__}:record",
        entry.id,
        spot.patient_id,
        *at,
        clinic_id=spot.clinic_id,
    )
    return entry


async def revise(
    session: AsyncSession,
    agent: Agent,
    entry: Entry,
    version: int,
    wanted: StrEnum | None,
    **values: Any,
) -> Entry:
    """Move an entry to a state, or leave it there, and change values; None leaves a value as it is.

    Raises IllegalMove, StaleVersion, NotFound. The audit event is `<resource>:record`.
    """
    told = {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in values.items()
        if value is not None
    }
    changed = await change(session, agent, entry, version, **revised(entry, wanted), **told)
    record(session, agent, f"{entry.__resource__}:record", changed.id, clinic_id=changed.clinic_id)
    return changed
