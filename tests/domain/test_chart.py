"""What is written into a chart: findings, diagnoses, allergies, medications, procedures, vaccinations, and striking out."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain import (
    allergies,
    conditions,
    immunizations,
    medications,
    notes,
    observations,
    procedures,
)
from domain.allergies import AllergyStatus, AllergyVerification
from domain.audit import Agent
from domain.chart_entries import Spot, at_encounter, at_place
from domain.codings import CVX, ICD_10_CM, RXNORM, SNOMED, Coding, mod_10, verhoeff
from domain.conditions import Category, ClinicalStatus, VerificationStatus
from domain.database import constraint_of
from domain.encounters import Encounter
from domain.entered_in_error import StillDocumented, mark_entered_in_error
from domain.errors import IllegalMove, Invalid, NotFound, Several, StaleVersion
from domain.medications import RequestState, StatementState
from domain.notes import NoteKind, Text
from domain.observations import Finding, Interpretation, Observation, ObservationState, Value, loinc
from domain.practitioners import NotAPractitioner
from domain.procedures import ProcedureState
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage
from tests.domain.test_patients import SEALER

pytestmark = pytest.mark.anyio

PULSE = Finding(loinc("8867-4", "Heart rate"), Value(Decimal(72), "/min"))
PRESSURE = Finding(
    loinc("85354-9", "Blood pressure"),
    components=(
        Finding(loinc("8480-6"), Value(Decimal("121.50"), "mm[Hg]", high=Decimal(120))),
        Finding(loinc("8462-4"), Value(Decimal(80), "mm[Hg]", low=Decimal(60), high=Decimal(80))),
    ),
)
VITALS = loinc("85353-1", "Vital signs")
HYPERTENSION = Coding(SNOMED.uri, "38341003", "Hypertension")
PENICILLIN = Coding(RXNORM.uri, "7980", "Penicillin G")
METFORMIN = Coding(RXNORM.uri, "6809", "Metformin")
ECG = Coding(SNOMED.uri, "29303009", "Electrocardiogram")
INFLUENZA = Coding(CVX.uri, "140", "Influenza")
LATER, EARLIER = make.NOW + dt.timedelta(hours=1), make.NOW - dt.timedelta(hours=1)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


@pytest.fixture
def visit(at: Stage, database: Database) -> Encounter:
    made = make.encounter(at.patient, at.clinic, version=1)
    make.save(database, made)
    return made


@pytest.fixture
def lay(at: Stage, database: Database) -> Agent:
    """Somebody who is no practitioner."""
    person = make.person(at.tree.tenant)
    make.save(database, person)
    return Agent(tenant_id=at.tenant_id, now=make.NOW, person_id=person.id)


Record = Callable[[AsyncSession, Agent, Encounter], Awaitable[Any]]


def spot(encounter: Encounter) -> Spot:
    return at_encounter(encounter)


RECORDED: dict[str, Record] = {
    "condition": lambda s, a, e: conditions.record(s, a, e, HYPERTENSION),
    "allergy": lambda s, a, e: allergies.record(s, a, spot(e), PENICILLIN),
    "medication_request": lambda s, a, e: medications.order(s, a, spot(e), METFORMIN),
    "medication_statement": lambda s, a, e: medications.state_taken(s, a, spot(e), METFORMIN),
    "procedure": lambda s, a, e: procedures.record(s, a, spot(e), ECG),
    "immunization": lambda s, a, e: immunizations.record(s, a, spot(e), INFLUENZA),
}
PRACTITIONERS = ("condition", "allergy", "medication_request", "procedure")


async def reason_of(work: Awaitable[Any]) -> tuple[str, ...]:
    """The path of the refusal."""
    with pytest.raises(Invalid) as refused:
        await work
    return refused.value.path


# -- codes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["8867-4", "85354-9", "8480-6", "72166-2", "29463-7", "2339-0"])
def test_the_check_digit_of_loinc(code: str) -> None:
    assert mod_10(code)
    assert not any(mod_10(f"{code[:-1]}{d}") for d in range(10) if str(d) != code[-1])


@pytest.mark.parametrize("code", ["38341003", "29303009", "22298006", "900000000000207008"])
def test_the_check_digit_of_snomed(code: str) -> None:
    assert verhoeff(code)
    assert not any(verhoeff(f"{code[:-1]}{d}") for d in range(10) if str(d) != code[-1])
    assert not verhoeff(code[1] + code[0] + code[2:]) or code[0] == code[1]


@pytest.mark.parametrize(
    ("system", "code", "field"),
    [
        (ICD_10_CM.uri, "E119", "code"),
        (ICD_10_CM.uri, "e11.9", "code"),
        (ICD_10_CM.uri, "E11.", "code"),
        (SNOMED.uri, "E11.9", "code"),
        (SNOMED.uri, "012345", "code"),
        (SNOMED.uri, "38341004", "code"),
        ("urn:other", "1", "system"),
        (RXNORM.uri, "6809", "system"),
    ],
)
async def test_what_is_no_diagnosis(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, system: str, code: str, field: str
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        wrong = conditions.record(session, at.agent, visit, Coding(system, code))
        assert await reason_of(wrong) == ("diagnosis", field)


# -- findings -----------------------------------------------------------------------------------


async def test_findings_and_diagnoses_follow_their_visit(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    smoking = Finding(loinc("72166-2"), Value(text="Never", unit="ignored"))
    async with acting(app_engine, at.tenant_id) as session:
        pulse, smoker = await observations.record(session, at.agent, visit, [PULSE, smoking])
        diagnosis = await conditions.record(session, at.agent, visit, HYPERTENSION)
        for row in (pulse, smoker, diagnosis):
            assert (row.encounter_id, row.unit_id) == (visit.id, at.clinic.id)
            assert row.recorded_by == at.person.id
        assert (pulse.value_quantity, pulse.unit, smoker.unit) == (Decimal(72), "/min", None)
        actions = [action for action, _ in await audited(session, at.agent)]
        assert actions == ["observation:record", "condition:record"]


async def test_a_panel_of_vitals(at: Stage, app_engine: AsyncEngine, visit: Encounter) -> None:
    first = uuid.UUID(int=2**90)
    async with acting(app_engine, at.tenant_id) as session:
        earlier = Finding(loinc("8310-5"), Value(Decimal("37.0"), "Cel"), effective_at=EARLIER)
        panel, pressure, pulse, heat = await observations.record(
            session, at.agent, visit, [PRESSURE, PULSE, earlier], panel=VITALS, first_id=first
        )
        assert [r.id.int - first.int for r in (panel, pressure, pulse, heat)] == [0, 1, 2, 3]
        assert panel.effective_at == heat.effective_at == EARLIER
        assert {(r.part, r.part_of_id) for r in (pressure, pulse, heat)} == {("member", panel.id)}
        assert str(heat.value_quantity) == "37.0"
        parts = await pressure.parts(session)
        told = {p.code: (p.part, str(p.value_quantity), p.interpretation) for p in parts}
        assert told == {
            "8480-6": ("component", "121.50", "H"),
            "8462-4": ("component", "80", "N"),
        }
        assert pressure.value_quantity is None
        ((action, _),) = await audited(session, at.agent)
        assert action == "observation:record"


VALUES: list[tuple[Value, tuple[str, ...]]] = [
    (Value(), ("value",)),
    (Value(Decimal(1), "/min", text="x"), ("value",)),
    (Value(truth=True, text="x"), ("value",)),
    (Value(Decimal(1)), ("value", "unit")),
    (Value(Decimal(1), "per min"), ("value", "unit")),
    (Value(Decimal("NaN"), "/min"), ("value", "quantity")),
    (Value(Decimal("1e99"), "/min"), ("value", "quantity")),
    (Value(text="x" * 2_001), ("value", "text")),
    (Value(code=Coding("urn:other", "1")), ("value", "code", "system")),
    (Value(Decimal(1), "/min", low=Decimal(3), high=Decimal(2)), ("value", "rangeHigh")),
    (Value(Decimal(1), "/min", low=Decimal("Infinity")), ("value", "rangeLow")),
    (Value(Decimal(1), "/min", range_text="x" * 201), ("value", "rangeText")),
]


@pytest.mark.parametrize(("value", "path"), VALUES)
async def test_what_is_no_value(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, value: Value, path: tuple[str, ...]
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        wrong = Finding(loinc("8867-4"), value)
        with pytest.raises(Several) as refused:
            await observations.record(session, at.agent, visit, [PULSE, wrong])
        assert [e.path for e in refused.value.errors] == [("observations", "1", *path)]
        assert (await session.scalars(select(Observation))).all() == []


async def test_each_wrong_finding_is_named_and_none_is_kept(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    inner = Finding(loinc("85354-9"), components=(Finding(loinc("8480-6")),))
    given = [
        Finding(loinc("8867"), PULSE.value),
        PULSE,
        Finding(loinc("8867-4"), PULSE.value, effective_at=LATER),
        Finding(loinc("8867-4"), PULSE.value, state=ObservationState.ENTERED_IN_ERROR),
        inner,
        Finding(loinc("85354-9"), PULSE.value, components=PRESSURE.components),
    ]
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(IllegalMove):
            await observations.record(session, at.agent, visit, [given[3]])
        with pytest.raises(Several) as refused:
            await observations.record(session, at.agent, visit, given[:3] + given[4:])
        assert [e.path[1:] for e in refused.value.errors] == [
            ("0", "code", "code"),
            ("2", "effectiveAt"),
            ("3", "components", "0", "value"),
            ("4", "value"),
        ]
        for few in ([], [PULSE] * 51):
            with pytest.raises(Invalid):
                await observations.record(session, at.agent, visit, few)
        assert (await session.scalars(select(Observation))).all() == []


async def test_an_awaited_result_comes_and_then_stays(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    awaited = Finding(loinc("2339-0"), state=ObservationState.REGISTERED)
    result = Value(Decimal("99.0"), "mg/dL", low=Decimal(70), high=Decimal(99))
    async with acting(app_engine, at.tenant_id) as session:
        (row,) = await observations.record(session, at.agent, visit, [awaited])
        for values in (
            {"state": ObservationState.FINAL},
            {"value": Value()},
            {"value": Value(text=" ")},
        ):
            wrong = observations.update(session, at.agent, row, 1, **values)
            assert await reason_of(wrong) == ("value",)
        row = await observations.update(
            session, at.agent, row, 1, state=ObservationState.FINAL, value=result
        )
        assert (row.state, row.state_before, row.interpretation) == ("final", "registered", "N")
        with pytest.raises(Invalid) as refused:
            await observations.update(session, at.agent, row, 2, value=result)
        assert refused.value.code == "FINAL"
        with pytest.raises(IllegalMove):
            await observations.update(session, at.agent, row, 2, state=ObservationState.REGISTERED)
        with pytest.raises(StaleVersion):
            await observations.update(session, at.agent, row, 1)
        for state in (
            ObservationState.AMENDED,
            ObservationState.CORRECTED,
        ):  # without another value
            with pytest.raises(IllegalMove):
                await observations.update(session, at.agent, row, 2, state=state)


def test_what_a_range_means() -> None:
    low, high = Decimal(10), Decimal(20)
    for quantity, wanted in (
        ("9.99", Interpretation.L),
        ("10", Interpretation.N),
        ("20.0", Interpretation.N),
        ("20.01", Interpretation.H),
    ):
        value = Value(Decimal(quantity), "1", low=low, high=high)
        assert observations.meaning(value) == wanted
    said = Value(Decimal(15), "1", low=low, interpretation=Interpretation.HH)
    assert observations.meaning(said) == Interpretation.HH
    assert observations.meaning(Value(Decimal(15), "1")) is None


# -- the other entries --------------------------------------------------------------------------


@pytest.mark.parametrize("resource", sorted(RECORDED))
async def test_an_entry_lies_where_its_visit_does(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, resource: str
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        row = await RECORDED[resource](session, at.agent, visit)
        assert (row.encounter_id, row.unit_id, row.patient_id) == (
            visit.id,
            visit.unit_id,
            visit.patient_id,
        )
        assert (row.recorded_by, row.version, row.state_before) == (at.person.id, 1, None)
        ((action, _),) = await audited(session, at.agent)
        assert action == f"{resource}:record"


@pytest.mark.parametrize("resource", PRACTITIONERS)
async def test_what_is_a_practitioners(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, lay: Agent, resource: str
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(NotAPractitioner):
            await RECORDED[resource](session, lay, visit)


async def test_what_a_patient_brings_along_belongs_to_no_visit(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        here = await at_place(session, at.agent, at.patient.id, at.clinic)
        row = await immunizations.record(session, at.agent, here, INFLUENZA, occurred_at=EARLIER)
        assert (row.encounter_id, row.clinic_id) == (None, at.clinic.id)
        with pytest.raises(NotFound):
            await at_place(session, at.agent, at.patient.id, at.elsewhere)


async def test_how_entries_go_on(at: Stage, app_engine: AsyncEngine, visit: Encounter) -> None:
    here = at_encounter(visit)
    async with acting(app_engine, at.tenant_id) as session:
        allergy = await allergies.record(
            session, at.agent, here, PENICILLIN, verification=AllergyVerification.UNCONFIRMED
        )
        allergy = await allergies.update(
            session,
            at.agent,
            allergy,
            1,
            verification=AllergyVerification.REFUTED,
            clinical_status=AllergyStatus.INACTIVE,
        )
        told = (allergy.verification_status, allergy.clinical_status, allergy.version)
        assert told == ("refuted", "inactive", 2)
        order = await medications.order(session, at.agent, here, METFORMIN)
        for state in (RequestState.ON_HOLD, RequestState.ACTIVE, RequestState.STOPPED):
            order = await medications.update_order(
                session, at.agent, order, order.version, state=state
            )
        with pytest.raises(IllegalMove):
            await medications.update_order(session, at.agent, order, 4, state=RequestState.ACTIVE)
        taken = await medications.state_taken(session, at.agent, here, METFORMIN, request=order)
        taken = await medications.update_statement(
            session, at.agent, taken, 1, state=StatementState.COMPLETED
        )
        assert (taken.state, taken.request_id) == ("completed", order.id)
        done = await procedures.record(
            session, at.agent, here, ECG, state=ProcedureState.IN_PROGRESS
        )
        done = await procedures.update(
            session, at.agent, done, 1, state=ProcedureState.COMPLETED, outcome="Sinus rhythm"
        )
        assert (done.state, done.outcome) == ("completed", "Sinus rhythm")
        problem = await conditions.record(session, at.agent, visit, HYPERTENSION)
        problem = await conditions.update(
            session,
            at.agent,
            problem,
            1,
            clinical_status=ClinicalStatus.RESOLVED,
            verification=VerificationStatus.PROVISIONAL,
            category=Category.PROBLEM_LIST_ITEM,
            abated_on=make.NOW.date(),
        )
        assert (problem.clinical_status, problem.category) == ("resolved", "problem-list-item")
        for stale in (
            allergies.update(session, at.agent, allergy, 1),
            conditions.update(session, at.agent, problem, 1),
            procedures.update(session, at.agent, done, 1),
        ):
            with pytest.raises(StaleVersion):
                await stale


async def test_what_no_entry_takes(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, database: Database
) -> None:
    here, today = at_encounter(visit), make.NOW.date()
    day = dt.timedelta(days=1)
    async with acting(app_engine, at.tenant_id) as session:

        async def path(command: Any, *given: Any, **values: Any) -> str:
            return ".".join(await reason_of(command(session, at.agent, *given, **values)))

        took, gave = medications.state_taken, medications.order
        assert await path(allergies.record, here, Coding("urn:x", "1")) == "substance.system"
        later = today + 3 * day
        assert await path(allergies.record, here, PENICILLIN, onset_on=later) == "onsetOn"
        assert await path(allergies.record, here, PENICILLIN, reaction="x" * 201) == "reaction"
        assert await path(allergies.record, here, PENICILLIN, recorded_at=LATER) == "recordedAt"
        ends = {"starts_on": today, "ends_on": today - day}
        assert await path(gave, here, METFORMIN, **ends) == "endsOn"
        assert await path(gave, here, METFORMIN, dosage="x" * 2_001) == "dosage"
        assert await path(gave, here, METFORMIN, state=RequestState.STOPPED) == "state"
        assert await path(gave, here, METFORMIN, ends_on=dt.date(9999, 1, 1)) == "endsOn"
        assert await path(took, here, METFORMIN, **ends) == "endsOn"
        assert await path(took, here, METFORMIN, starts_on=today + 3 * day) == "startsOn"
        over = {"performed_at": make.NOW, "ended_at": EARLIER}
        assert await path(procedures.record, here, ECG, **over) == "endedAt"
        assert await path(procedures.record, here, ECG, performed_at=LATER) == "performedAt"
        ancient = dt.datetime(1800, 1, 1, tzinfo=dt.UTC)
        assert await path(procedures.record, here, ECG, performed_at=ancient) == "performedAt"
        naive = make.NOW.replace(tzinfo=None)
        given = immunizations.record
        assert await path(given, here, INFLUENZA, occurred_at=naive) == "occurredAt"
        assert await path(given, here, INFLUENZA, expires_on=today - day) == "expiresOn"
        assert await path(given, here, INFLUENZA, dose=Decimal(1)) == "doseUnit"
        none = {"dose": Decimal(0), "dose_unit": "mL"}
        assert await path(given, here, INFLUENZA, **none) == "dose"
        assert await path(given, here, INFLUENZA, lot_number="x" * 41) == "lotNumber"
        wrong = Coding(CVX.uri, "1")
        assert await path(given, here, wrong) == "vaccine.code"
        assert await path(conditions.record, visit, HYPERTENSION, onset_on=later) == "onsetOn"
    async with acting(app_engine, at.tenant_id) as session:
        assert await audited(session, at.agent) == []


# -- striking out -------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", sorted(RECORDED))
async def test_what_was_entered_in_error_is_struck_out_once(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, resource: str
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        row = await RECORDED[resource](session, at.agent, visit)
        for blank in ("", "  ", "x" * 1_001):
            with pytest.raises(Invalid):
                await mark_entered_in_error(session, at.agent, row, 1, blank)
        with pytest.raises(StaleVersion):
            await mark_entered_in_error(session, at.agent, row, 2, "Wrong patient")
        struck = await mark_entered_in_error(session, at.agent, row, 1, "Wrong patient")
        state = getattr(struck, type(row).__states__.column)
        assert (state, struck.error_reason, struck.version) == (
            "entered-in-error",
            "Wrong patient",
            2,
        )
        with pytest.raises(IllegalMove):
            await mark_entered_in_error(session, at.agent, struck, 2, "again")
        actions = [action for action, _ in await audited(session, at.agent)]
        assert actions[-1] == f"{resource}:mark_entered_in_error"


async def test_components_are_struck_out_with_their_finding(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        _, pressure, _ = await observations.record(
            session, at.agent, visit, [PRESSURE, PULSE], panel=VITALS
        )
        await mark_entered_in_error(session, at.agent, pressure, 1, "Cuff too small")
        rows = await session.scalars(
            select(Observation), execution_options={"populate_existing": True}
        )
        struck = {row.code for row in rows if row.state == "entered-in-error"}
        assert struck == {"85354-9", "8480-6", "8462-4"}


async def test_a_visit_is_struck_out_after_what_is_written_at_it(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        row = await session.get_one(Encounter, (at.tenant_id, visit.id))
        await notes.write_draft(
            session, at.agent, SEALER, row, NoteKind.PROGRESS, Text("never signed")
        )
        (pulse,) = await observations.record(session, at.agent, row, [PULSE])
        with pytest.raises(StillDocumented):
            await mark_entered_in_error(session, at.agent, row, 1, "Wrong patient")
        await mark_entered_in_error(session, at.agent, pulse, 1, "Wrong patient")
        struck = await mark_entered_in_error(session, at.agent, row, 1, "Wrong patient")
        assert (struck.state, struck.state_before) == ("entered-in-error", "in-progress")


STATES: dict[str, tuple[str, str, str]] = {
    "encounter": ("state", "finished", "in-progress"),
    "observation": ("state", "final", "preliminary"),
    "condition": ("verification_status", "entered-in-error", "confirmed"),
    "allergy_intolerance": ("verification_status", "entered-in-error", "confirmed"),
    "medication_request": ("state", "stopped", "active"),
    "medication_statement": ("state", "completed", "active"),
    "procedure": ("state", "completed", "in-progress"),
    "immunization": ("state", "not-done", "completed"),
}


@pytest.mark.parametrize("name", sorted(STATES))
async def test_the_database_refuses_a_step_that_the_table_does_not_have(
    at: Stage, visit: Encounter, database: Database, app_engine: AsyncEngine, name: str
) -> None:
    column, now, wanted = STATES[name]
    rows = {
        "encounter": visit,
        "observation": make.observation(visit),
        "condition": make.condition(visit),
        "allergy_intolerance": make.allergy(visit),
        "medication_request": make.request(visit),
        "medication_statement": make.statement(visit),
        "procedure": make.procedure(visit),
        "immunization": make.immunization(visit),
    }
    row = rows[name]
    if row is not visit:
        make.save(database, row)
    ended = ", ended_at = started_at" if name == "encounter" else ""
    with database.owner_engine.begin() as owner:
        change = text(f"update {name} set {column} = :now{ended} where id = :id")
        owner.execute(change, {"now": now, "id": row.id})
    step = text(f"update {name} set {column} = :to, state_before = {column} where id = :id")
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(DBAPIError) as refused:
            async with session.begin_nested():
                await session.execute(step, {"to": wanted, "id": row.id})
        assert constraint_of(refused.value) == f"ck_{name}_state_step"
