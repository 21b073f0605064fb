"""Observations: measurements and findings, https://hl7.org/fhir/R4/observation.html"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.audit import record as audit
from domain.chart_entries import Spot, at_encounter
from domain.codings import ANSWERS, FINDINGS, LOINC, Coding, coded
from domain.encounters import Encounter, follows_encounter
from domain.errors import IllegalMove, Invalid, Several
from domain.model import OfPatient, Stamped, in_a_row, new_id, one_of
from domain.moments import past
from domain.plain_text import optional_line, optional_passage
from domain.quantities import checked_number, checked_quantity
from domain.state_tables import Stateful, revised, table
from domain.versions import change

MOST = 50
"""Findings of one command, and components of one finding."""


class ObservationState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-observation-status.html"""

    REGISTERED = "registered"
    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"
    CORRECTED = "corrected"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"
    UNKNOWN = "unknown"


class Interpretation(StrEnum):
    """https://terminology.hl7.org/CodeSystem-v3-ObservationInterpretation.html, as far as ranges and results need it."""

    N = "N"  # normal
    A = "A"  # abnormal
    AA = "AA"  # critically abnormal
    L = "L"  # low
    LL = "LL"  # critically low
    H = "H"  # high
    HH = "HH"  # critically high
    POS = "POS"  # positive
    NEG = "NEG"  # negative
    DET = "DET"  # detected
    ND = "ND"  # not detected
    IND = "IND"  # indeterminate


class Part(StrEnum):
    """How a finding belongs to another: a component has no meaning alone, a member of a panel has."""

    COMPONENT = "component"
    MEMBER = "member"


OPEN = frozenset({ObservationState.REGISTERED, ObservationState.PRELIMINARY})
"""States in which a value is still awaited or may change; what is final is struck out and recorded anew."""
PUT_RIGHT = frozenset({ObservationState.AMENDED, ObservationState.CORRECTED})
"""States of a version that took the place of another (`corrections.py`)."""
RESULTS = frozenset({ObservationState.PRELIMINARY, ObservationState.FINAL})
"""States that say something."""


def of_another(column: str) -> ForeignKeyConstraint:
    """The column names another finding of the health system."""
    return ForeignKeyConstraint(
        ["tenant_id", column],
        ["observation.tenant_id", "observation.id"],
        name=f"fk_observation_{column.removesuffix('_id')}",
    )


def found_by(column: str) -> Index:
    """What names a finding by the column is found."""
    name = f"ix_observation_{column.removesuffix('_id')}"
    return Index(name, "tenant_id", column, "id", postgresql_where=text(f"{column} is not null"))


class Observation(Stateful, Stamped, OfPatient):
    """A coded measurement (LOINC): a quantity with its UCUM unit, a text, a code or yes and no; or only its parts.

    A component (the systolic pressure of a blood pressure) is a row of its own, so that it can be followed over time.
    What was found elsewhere and brought along belongs to no encounter. `replaced_by_id` of a finding that was put right
    later, and of its components, is the version that holds.
    """

    __tablename__ = "observation"
    __resource__ = "observation"
    __states__ = table(
        "observation",
        ObservationState,
        registered=("preliminary", "final", "cancelled"),
        preliminary=("final", "cancelled"),
        final=("amended", "corrected"),
        amended=("corrected",),
        corrected=("amended",),
        unknown=("preliminary", "final", "cancelled"),
    )

    encounter_id: Mapped[uuid.UUID | None] = mapped_column(sort_order=-94)
    state: Mapped[str] = mapped_column(server_default="final")
    code_system: Mapped[str] = mapped_column(server_default="http://loinc.org")
    code: Mapped[str]
    display: Mapped[str | None]
    value_quantity: Mapped[Decimal | None] = mapped_column(Numeric)
    value_text: Mapped[str | None]
    value_code_system: Mapped[str | None]
    value_code: Mapped[str | None]
    value_display: Mapped[str | None]
    value_boolean: Mapped[bool | None]
    unit: Mapped[str | None]
    range_low: Mapped[Decimal | None] = mapped_column(Numeric)
    range_high: Mapped[Decimal | None] = mapped_column(Numeric)
    range_text: Mapped[str | None]
    interpretation: Mapped[str | None]
    part_of_id: Mapped[uuid.UUID | None]
    part: Mapped[str | None]
    replaced_by_id: Mapped[uuid.UUID | None]
    effective_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            *cls.__states__.constraints(),
            one_of("interpretation", Interpretation),
            one_of("part", Part),
            CheckConstraint(
                "num_nonnulls(value_quantity, value_text, value_code, value_boolean) <= 1",
                name="one_value",
            ),
            CheckConstraint("value_quantity is null or unit is not null", name="unit"),
            CheckConstraint(
                "(value_code is null) = (value_code_system is null)", name="value_code"
            ),
            CheckConstraint("range_high is null or range_high >= range_low", name="range"),
            CheckConstraint("(part is null) = (part_of_id is null)", name="part_of"),
            follows_encounter(name),
            ForeignKeyConstraint(
                ["tenant_id", "recorded_by"],
                ["person.tenant_id", "person.id"],
                name="fk_observation_recorded_by",
            ),
            *(of_another(column) for column in ("part_of_id", "replaced_by_id")),
            Index("ix_observation_patient", "tenant_id", "patient_id", "effective_at", "id"),
            Index("ix_observation_code", "tenant_id", "patient_id", "code", "effective_at", "id"),
            Index("ix_observation_encounter", "tenant_id", "encounter_id", "effective_at", "id"),
            *(found_by(column) for column in ("part_of_id", "replaced_by_id")),
        )

    async def parts(self, session: AsyncSession) -> list[Any]:
        """Its components, and the versions before it with theirs; members of a panel stand for themselves."""
        component = (Observation.part_of_id == self.id) & (Observation.part == Part.COMPONENT)
        found = await session.scalars(
            select(Observation).where(
                Observation.tenant_id == self.tenant_id,
                component | (Observation.replaced_by_id == self.id),
                Observation.state != ObservationState.ENTERED_IN_ERROR.value,
            )
        )
        rows = {row.id: row for row in found}
        for before in [row for row in rows.values() if row.part != Part.COMPONENT]:
            rows |= {row.id: row for row in await before.parts(session)}
        return list(rows.values())


@dataclass(frozen=True)
class Value:
    """What was found: at most one of quantity (with unit), text, code and truth; its range, and what it means."""

    quantity: Decimal | None = None
    unit: str | None = None
    text: str | None = None
    code: Coding | None = None
    truth: bool | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    range_text: str | None = None
    interpretation: Interpretation | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        said = (self.text or "").strip() or None
        return all(v is None for v in (self.quantity, said, self.code, self.truth))


@dataclass(frozen=True)
class Finding:
    """A finding to be recorded: its LOINC code, its value or components, and when it was true."""

    code: Coding
    value: Value = Value()
    state: ObservationState = ObservationState.FINAL
    effective_at: dt.datetime | None = None
    components: tuple["Finding", ...] = ()


def loinc(code: str, display: str | None = None) -> Coding:
    """A LOINC code."""
    return Coding(LOINC.uri, code, display)


async def record(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    findings: Sequence[Finding],
    *,
    panel: Coding | None = None,
    first_id: uuid.UUID | None = None,
) -> list[Observation]:
    """Record findings of a visit, all or none; with `panel`, as members of an observation of that code, which is first.

    The rows answered have ids in a row from `first_id` on. Raises Several with a refusal for each finding that
    cannot be taken, its path `observations`, number, field; Invalid. Writes observation.
    """
    at = at_encounter(encounter)
    if not 1 <= len(findings) <= MOST:
        raise Invalid(f"1 to {MOST} observations at once.", path=("observations",))
    group = None if panel is None else _panel(agent, panel, findings)
    checked, wrong = [], []
    for i, finding in enumerate(findings):
        try:
            checked.append(finding_columns(agent, finding, ("observations", str(i))))
        except Invalid as error:
            wrong.append(error)
    if wrong:
        raise Several(wrong)
    rows: list[Observation] = []
    ids = in_a_row(first_id or new_id(), len(findings) + (group is not None))
    if group is not None:
        rows.append(finding_row(agent, at, next(ids), group, None, None))
    parent = rows[0].id if rows else None
    components: list[Observation] = []
    for columns, parts in checked:
        rows.append(finding_row(agent, at, next(ids), columns, parent, Part.MEMBER))
        components += [
            finding_row(agent, at, new_id(), p, rows[-1].id, Part.COMPONENT) for p in parts
        ]
    session.add_all(rows)
    await session.flush()
    session.add_all(components)
    await session.flush()
    told = (row.id for row in (*rows, *components))
    audit(session, agent, "observation:record", *told, encounter.id, clinic_id=at.clinic_id)
    return rows


async def update(
    session: AsyncSession,
    agent: Agent,
    observation: Observation,
    version: int,
    *,
    state: ObservationState | None = None,
    value: Value | None = None,
) -> Observation:
    """Bring an awaited or preliminary result on: its value, its state. What is final never changes.

    Raises Invalid, IllegalMove, StaleVersion. Writes observation.
    """
    if value is not None and observation.state not in OPEN:
        raise Invalid(
            "What is final is struck out and recorded anew.", path=("value",), code="FINAL"
        )
    if state in PUT_RIGHT:  # says that something else holds, and not what
        raise IllegalMove("observation", observation.state, state.value)
    moved = revised(observation, state)
    if (state is None or state in RESULTS) and await _lacks(session, observation, value):
        raise Invalid("A result has a value.", path=("value",))
    values = {} if value is None else value_columns(value, ())
    changed = await change(session, agent, observation, version, **moved, **values)
    audit(session, agent, "observation:record", changed.id, clinic_id=changed.clinic_id)
    return changed


async def _lacks(session: AsyncSession, observation: Observation, value: Value | None) -> bool:
    """Whether neither the new value nor the row nor its components say anything."""
    if value is not None:
        return value.empty
    if observation.state != ObservationState.REGISTERED:
        return False
    return not await observation.parts(session)


def _panel(agent: Agent, panel: Coding, findings: Sequence[Finding]) -> dict[str, Any]:
    """A panel's own columns: it has no value, and is as old as its oldest member."""
    times = [f.effective_at or agent.now for f in findings]
    aware = [time for time in times if time.tzinfo is not None]
    return {
        **coded(panel, FINDINGS, "panel"),
        **value_columns(Value(), ()),
        "state": ObservationState.FINAL.value,
        "effective_at": min(aware, default=agent.now),
    }


def finding_columns(
    agent: Agent, finding: Finding, path: tuple[str, ...], part: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The columns of a finding and of its components. Raises Invalid."""
    when = past(finding.effective_at, agent, *path, "effectiveAt")
    if len(finding.components) > (0 if part else MOST):
        raise Invalid("So many components are not taken.", path=(*path, "components"))
    awaited = finding.state is ObservationState.REGISTERED
    if finding.value.empty != (awaited or bool(finding.components)):
        raise Invalid(
            "One value: a quantity, a text, a code or yes or no; none beside components.",
            path=(*path, "value"),
        )
    columns = {
        **coded(finding.code, FINDINGS, *path, "code"),
        **value_columns(finding.value, path),
        "state": Observation.__states__.first(finding.state),
        "effective_at": when,
    }
    parts = []
    for i, each in enumerate(finding.components):
        own = replace(each, effective_at=when, state=finding.state)
        parts.append(finding_columns(agent, own, (*path, "components", str(i)), part=True)[0])
    return columns, parts


def value_columns(value: Value, path: tuple[str, ...]) -> dict[str, Any]:
    """The columns of a value. Raises Invalid."""
    here = (*path, "value")
    said = optional_passage(value.text, *here, "text")
    if sum(v is not None for v in (value.quantity, said, value.code, value.truth)) > 1:
        raise Invalid("A quantity, a text, a code or yes or no; not two of them.", path=here)
    if value.quantity is not None:
        checked_quantity(value.quantity, value.unit, (*here, "quantity"), (*here, "unit"))
    for name, bound in (("rangeLow", value.low), ("rangeHigh", value.high)):
        if bound is not None:
            checked_number(bound, *here, name)
    if value.low is not None and value.high is not None and value.high < value.low:
        raise Invalid("The range ends before it starts.", path=(*here, "rangeHigh"))
    code = {"code_system": None, "code": None, "display": None}
    answer = code if value.code is None else coded(value.code, ANSWERS, *here, "code")
    means = meaning(value)
    return {
        "value_quantity": value.quantity,
        "unit": value.unit if value.quantity is not None else None,
        "value_text": said,
        **{f"value_{name}": part for name, part in answer.items()},
        "value_boolean": value.truth,
        "range_low": value.low,
        "range_high": value.high,
        "range_text": optional_line(value.range_text, *here, "rangeText"),
        "interpretation": means and means.value,
    }


def meaning(value: Value) -> Interpretation | None:
    """What is said of it; else low, normal or high of a quantity with a range, nothing where there is none."""
    if value.interpretation is not None:
        return value.interpretation
    if value.quantity is None or (value.low is None and value.high is None):
        return None
    if value.low is not None and value.quantity < value.low:
        return Interpretation.L
    if value.high is not None and value.quantity > value.high:
        return Interpretation.H
    return Interpretation.N


def finding_row(
    agent: Agent,
    at: Spot,
    id_: uuid.UUID,
    columns: dict[str, Any],
    of: uuid.UUID | None,
    part: Part | None,
) -> Observation:
    """A new finding at a place, as a part of another or for itself."""
    return Observation(
        tenant_id=agent.tenant_id,
        id=id_,
        **asdict(at),
        part_of_id=of,
        part=part.value if of is not None and part is not None else None,
        recorded_by=agent.person_id,
        state_before=None,
        error_reason=None,
        **columns,
    )
