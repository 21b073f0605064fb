"""The statements that pages are made of walk ordered indexes under row-level security and generic plans."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import volume
from tests.database import Database, scratch
from tests.plans import MANY, Plan, assert_plan, explain
from tests.volume import Volume

pytestmark = pytest.mark.slow

PAGE = 51
GENEROUS = 25.0  # ms: an order above what is measured, for machines that do other work as well


@dataclass(frozen=True)
class Filled:
    database: Database
    even: Volume
    skewed: Volume


@pytest.fixture(scope="module")
def filled(admin_url: str, template: str, worker_id: str) -> Iterator[Filled]:
    """A database of its own with two health systems of 20,000 patients, so that other tests stay fast."""
    with scratch(admin_url, f"{worker_id}_volume", template) as database:
        with database.owner_engine.begin() as owner:
            volumes = [volume.fill(owner, skewed=skewed) for skewed in (False, True)]
            volume.analyze(owner)
        yield Filled(database, *volumes)


@dataclass(frozen=True)
class Case:
    """Whose statement it is: a health system, the clinic asked for, and whether all of it is in scope."""

    volume: Volume
    clinic: uuid.UUID
    whole: bool

    def settings(self) -> list[tuple[str, str]]:
        some = {self.clinic, *self.volume.clinics[:4], *self.volume.departments[:2]}
        scope = "*" if self.whole else "{" + ",".join(map(str, some)) + "}"
        scopes = [(f"app.scope_{r}", scope) for r in ("patient", "encounter", "appointment")]
        return [("app.tenant", str(self.volume.tenant_id)), *scopes]


@pytest.fixture(params=["even", "fullest", "sparse"])
def place(request: pytest.FixtureRequest, filled: Filled) -> tuple[Volume, uuid.UUID]:
    return {
        "even": (filled.even, filled.even.clinics[5]),
        "fullest": (filled.skewed, filled.skewed.clinics[0]),
        "sparse": (filled.skewed, filled.skewed.clinics[15]),
    }[request.param]


@pytest.fixture(params=[False, True], ids=["some clinics", "all clinics"])
def case(request: pytest.FixtureRequest, place: tuple[Volume, uuid.UUID]) -> Case:
    return Case(*place, whole=request.param)


def asked(filled: Filled, case: Case, statement: str, types: str, *values: object) -> Plan:
    return explain(filled.database, case.settings(), statement, types.split(), values)


SITES = (
    "select s.family_key, p.given_name from patient_site s"
    " join patient p on p.tenant_id = $1 and p.id = s.patient_id and p.sensitivity = 0"
    " where s.tenant_id = $1 and s.unit_id = $2 and s.sensitivity = 0{after}"
    " order by s.family_key, s.patient_id limit 51"
)


def test_a_page_of_a_clinics_patients(filled: Filled, case: Case) -> None:
    plan = asked(
        filled, case, SITES.format(after=""), "uuid uuid", case.volume.tenant_id, case.clinic
    )
    assert_plan(plan, uses="ix_patient_site_family", below=GENEROUS)
    assert plan.read_rows <= PAGE


def test_a_later_page_of_a_clinics_patients(filled: Filled, case: Case) -> None:
    after = " and (s.family_key, s.patient_id) > ($3, $4)"
    place = (case.volume.tenant_id, case.clinic, "m", uuid.UUID(int=0))
    plan = asked(filled, case, SITES.format(after=after), "uuid uuid text uuid", *place)
    assert_plan(plan, uses="ix_patient_site_family", below=GENEROUS)
    assert plan.read_rows <= PAGE


def test_a_prefix_of_a_name(filled: Filled, case: Case) -> None:
    within = " and s.family_key >= $3 and s.family_key < $4"
    place = (case.volume.tenant_id, case.clinic, "ma", "mb")
    plan = asked(filled, case, SITES.format(after=within), "uuid uuid text text", *place)
    assert_plan(plan, uses="ix_patient_site_family", below=GENEROUS)


def test_a_page_over_several_clinics_shows_each_patient_once(filled: Filled, case: Case) -> None:
    statement = """
        select p.family_name from (
            select distinct on (s.family_key, s.patient_id) s.family_key, s.patient_id
            from unnest($2) unit(id), lateral (
                select s.family_key, s.patient_id from patient_site s
                where s.tenant_id = $1 and s.unit_id = unit.id and s.sensitivity = 0
                order by s.family_key, s.patient_id limit 102) s
            order by s.family_key, s.patient_id limit 51) s
        join patient p on p.tenant_id = $1 and p.id = s.patient_id and p.sensitivity = 0
        order by s.family_key, s.patient_id"""
    clinics = list(case.volume.clinics[:4])
    plan = asked(filled, case, statement, "uuid uuid[]", case.volume.tenant_id, clinics)
    assert_plan(plan, uses="ix_patient_site_family", below=GENEROUS)


def test_a_page_over_the_whole_health_system(
    filled: Filled, place: tuple[Volume, uuid.UUID]
) -> None:
    case = Case(*place, whole=True)
    statement = (
        "select p.family_name from patient p where p.tenant_id = $1 and p.sensitivity = 0"
        " order by p.family_key, p.id limit 51"
    )
    plan = asked(filled, case, statement, "uuid", case.volume.tenant_id)
    assert_plan(plan, uses="ix_patient_family", below=GENEROUS)
    assert plan.read_rows <= PAGE


def test_one_patient(filled: Filled, case: Case) -> None:
    statement = (
        "select p.family_name from patient p where p.tenant_id = $1 and p.id = $2 and p.sensitivity = 0"
        " and exists (select from patient_site s where s.tenant_id = $1 and s.patient_id = $2"
        " and s.unit_id = any ($3) and s.sensitivity = 0)"
    )
    clinics = list(case.volume.clinics)
    values = (case.volume.tenant_id, case.volume.a_patient, clinics)
    plan = asked(filled, case, statement, "uuid uuid uuid[]", *values)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= len(clinics)


def test_a_capped_count_of_patients(filled: Filled, case: Case) -> None:
    statement = (
        "select count(*) from (select distinct s.patient_id from patient_site s"
        " where s.tenant_id = $1 and s.unit_id = any ($2) and s.sensitivity = 0 limit 1001) counted"
    )
    clinics = list(case.volume.clinics[:4])
    plan = asked(filled, case, statement, "uuid uuid[]", case.volume.tenant_id, clinics)
    assert plan.sorted_rows <= MANY
    # Without the statistics of patient_site the generic plan reads every site of the clinics: 17,640 rows.
    assert plan.read_rows <= 2 * MANY
    assert plan.milliseconds < 4 * GENEROUS


VISITS = (
    "select e.started_at from encounter e where e.tenant_id = $1{place} and e.sensitivity = 0"
    " order by e.started_at desc, e.id desc limit 51"
)


def test_a_page_of_a_clinics_encounters(filled: Filled, case: Case) -> None:
    statement = VISITS.format(place=" and e.clinic_id = $2")
    plan = asked(filled, case, statement, "uuid uuid", case.volume.tenant_id, case.clinic)
    assert_plan(plan, uses="ix_encounter_clinic_started_at", below=GENEROUS)
    assert plan.read_rows <= PAGE


def test_a_page_of_encounters_over_several_clinics(filled: Filled, case: Case) -> None:
    inner = VISITS.format(place=" and e.clinic_id = clinic.id")
    statement = (
        f"select e.started_at from unnest($2) clinic(id), lateral ({inner}) e"
        " order by e.started_at desc limit 51"
    )
    clinics = list(case.volume.clinics[:4])
    plan = asked(filled, case, statement, "uuid uuid[]", case.volume.tenant_id, clinics)
    assert_plan(plan, uses="ix_encounter_clinic_started_at", below=GENEROUS)
    assert plan.read_rows <= 4 * PAGE


def test_a_page_of_all_encounters(filled: Filled, place: tuple[Volume, uuid.UUID]) -> None:
    case = Case(*place, whole=True)
    plan = asked(filled, case, VISITS.format(place=""), "uuid", case.volume.tenant_id)
    assert_plan(plan, uses="ix_encounter_tenant_started_at", below=GENEROUS)
    assert plan.read_rows <= PAGE


def test_a_patients_encounters(filled: Filled, case: Case) -> None:
    statement = VISITS.format(place=" and e.patient_id = $2")
    plan = asked(filled, case, statement, "uuid uuid", case.volume.tenant_id, case.volume.a_patient)
    assert_plan(plan, uses="ix_encounter_patient", below=GENEROUS)


def test_a_day_of_appointments(filled: Filled, case: Case) -> None:
    statement = (
        "select a.starts_at from appointment a where a.tenant_id = $1 and a.clinic_id = $2"
        " and a.starts_at >= $3 and a.starts_at < $4 and a.sensitivity = 0"
        " order by a.starts_at, a.id limit 201"
    )
    day = ("2026-02-02 06:00+00", "2026-02-03 06:00+00")
    types = "uuid uuid timestamptz timestamptz"
    plan = asked(filled, case, statement, types, case.volume.tenant_id, case.clinic, *day)
    assert_plan(plan, uses="ix_appointment_clinic_starts_at", below=GENEROUS)


def test_settings_are_read_once_a_statement(filled: Filled, case: Case) -> None:
    statement = VISITS.format(place=" and e.clinic_id = $2")
    plan = asked(filled, case, statement, "uuid uuid", case.volume.tenant_id, case.clinic)
    once = [node for node in plan.nodes() if node.get("Subplan Name", "").startswith("InitPlan")]
    assert once
    assert all(node["Actual Loops"] == 1 for node in once)


def test_the_helper_finds_a_bad_plan(filled: Filled, case: Case) -> None:
    statement = "select reason from encounter where tenant_id = $1 order by reason, id limit 51"
    plan = asked(filled, case, statement, "uuid", case.volume.tenant_id)
    with pytest.raises(AssertionError, match="sorts"):
        assert_plan(plan)
