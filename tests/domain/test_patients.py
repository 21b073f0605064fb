"""Registering, correcting and admitting patients, over the application's own database role."""

import asyncio
import datetime as dt
import hashlib
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.errors import DomainError, Invalid, NotFound, StaleVersion
from domain.organization import OrgUnit
from domain.patients import (
    AlreadyRegistered,
    Demographics,
    Mrn,
    NoMatch,
    Patient,
    PatientSite,
    add_site,
    admit,
    check_sites,
    register,
    seen_at,
    update_demographics,
)
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, sites, stage, units

pytestmark = pytest.mark.anyio


class Xor:
    """A sealer to look at: it keeps the contract (bound to column and row) without keys."""

    def seal(self, column: str, row_id: uuid.UUID, value: bytes) -> bytes:
        pad = hashlib.sha256(f"{column}|{row_id}".encode()).digest() * (len(value) // 32 + 1)
        return bytes(a ^ b for a, b in zip(value, pad, strict=False))

    def index(self, value: bytes) -> bytes:
        return hashlib.sha256(value).digest()


SEALER = Xor()
LENA: Demographics = {
    "family_name": "  Núñez ",
    "given_name": "Lena",
    "birth_date": dt.date(1980, 5, 17),
    "sex": "female",
    "phone": "(202) 555-0143",
    "country": "US",
    "national_id": "123-45-6789",
}


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


async def differing(session: AsyncSession, at: Stage) -> list[PatientSite]:
    question = check_sites(select(Patient).where(Patient.tenant_id == at.tenant_id))
    return list(await session.scalars(question))


async def test_registering_writes_the_patient_the_sites_and_one_audit_event(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        patient = await register(session, at.agent, SEALER, at.ward, LENA)
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Patient, (at.tenant_id, patient.id))
        assert (found.family_name, found.family_key) == ("Núñez", "nunez")
        assert (found.phone, found.mrn, found.version) == ("+12025550143", "00000001", 1)
        assert found.national_id_index == SEALER.index(b"123456789")
        assert found.national_id_sealed is not None
        assert b"6789" not in found.national_id_sealed
        placed = await sites(session, found)
        assert [s.unit_id for s in placed] == [at.clinic.id, at.ward.id]
        assert {s.given_key for s in placed} == {"lena"}
        assert await audited(session, at.agent) == [("patient:create", "done")]
        assert await differing(session, at) == []


async def test_a_clinic_scope_registers_there_and_nowhere_else(
    at: Stage, app_engine: AsyncEngine
) -> None:
    here = {"scope_patient": units(at.clinic), "write_patient": units(at.clinic)}
    async with acting(app_engine, at.tenant_id, **here) as session:
        await register(session, at.agent, SEALER, at.ward, LENA)
    async with acting(app_engine, at.tenant_id, **here) as session:
        nameless: Demographics = {"family_name": "Li", "given_name": "Bo"}
        with pytest.raises(DBAPIError, match="row-level security"):
            await register(session, at.agent, SEALER, at.elsewhere, nameless)
        await session.rollback()


async def test_record_numbers_are_a_series_and_imported_ones_keep_their_assigner(
    at: Stage, app_engine: AsyncEngine
) -> None:
    nameless: Demographics = {"family_name": "Li", "given_name": "Bo"}
    async with acting(app_engine, at.tenant_id) as session:
        one = await register(session, at.agent, SEALER, at.clinic, nameless)
        two = await register(session, at.agent, SEALER, at.clinic, nameless)
        other = await register(
            session, at.agent, SEALER, at.clinic, nameless, mrn=Mrn("urn:oid:1.2.3", "00000001")
        )
    assert (one.mrn, two.mrn, other.mrn) == ("00000001", "00000002", "00000001")
    async with acting(app_engine, at.tenant_id) as session:
        same = Mrn("urn:oid:1.2.3", "00000001")
        with pytest.raises(AlreadyRegistered) as refused:
            await register(session, at.agent, SEALER, at.clinic, nameless, mrn=same)
        await session.rollback()
    assert refused.value.path == ("mrn",)
    assert refused.value.__cause__ is None


async def test_a_national_identifier_belongs_to_one_patient_however_it_is_written(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        await register(session, at.agent, SEALER, at.clinic, LENA)
    async with acting(app_engine, at.tenant_id) as session:
        again: Demographics = LENA | {"national_id": "123 45 6789"}
        with pytest.raises(AlreadyRegistered, match="identifier"):
            await register(session, at.agent, SEALER, at.clinic, again)
        await session.rollback()


async def test_an_old_number_of_ones_own_must_not_look_like_the_series(
    at: Stage, app_engine: AsyncEngine
) -> None:
    nameless: Demographics = {"family_name": "Li", "given_name": "Bo"}
    async with acting(app_engine, at.tenant_id) as session:
        old = await register(session, at.agent, SEALER, at.clinic, nameless, mrn=Mrn("", "A-77"))
        assert (old.mrn_assigner, old.mrn) == ("", "A-77")
        for number in ("00000007", "123456789"):
            with pytest.raises(Invalid) as refused:
                await register(session, at.agent, SEALER, at.clinic, nameless, mrn=Mrn("", number))
            assert refused.value.code == "RESERVED_NUMBER"


@pytest.mark.parametrize("missing", ["family_name", "given_name"])
async def test_a_patient_has_both_names(at: Stage, app_engine: AsyncEngine, missing: str) -> None:
    given: Any = {k: v for k, v in LENA.items() if k != missing}
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(Invalid, match="name"):
            await register(session, at.agent, SEALER, at.clinic, given)


async def test_nobody_is_registered_above_clinics_or_at_a_closed_one(
    at: Stage, app_engine: AsyncEngine
) -> None:
    closed = OrgUnit(id=at.clinic.id, clinic_id=at.clinic.id, active=False)
    for place, code in ((at.tree.root, "NOT_A_CLINIC"), (closed, "UNIT_CLOSED")):
        async with acting(app_engine, at.tenant_id) as session:
            with pytest.raises(Invalid) as refused:
                await register(session, at.agent, SEALER, place, LENA)
        assert refused.value.code == code


async def test_a_correction_reaches_the_copies_at_sites_that_the_asker_cannot_see(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    make.save(database, make.site(at.patient, at.elsewhere))
    here = {"scope_patient": units(at.clinic), "write_patient": units(at.clinic)}
    async with acting(app_engine, at.tenant_id, **here) as session:
        patient = await session.get_one(Patient, (at.tenant_id, at.patient.id))
        changes: Demographics = {"family_name": "Okafor", "birth_date": None, "phone": None}
        changed = await update_demographics(session, at.agent, SEALER, patient, 1, changes)
        assert (changed.version, changed.family_name, changed.given_name) == (2, "Okafor", "Lena")
        assert changed.former_names == {
            "names": [{"family": "Garcia", "given": "Lena", "until": "2026-03-02"}]
        }
        assert len(await sites(session, changed)) == 1
    async with acting(app_engine, at.tenant_id) as session:
        copied = [(s.family_key, s.birth_date) for s in await sites(session, changed)]
        assert copied == [("okafor", None)] * 2
        assert await differing(session, at) == []
        assert await audited(session, at.agent) == [("patient:update", "done")]


async def test_copies_are_not_touched_from_a_site_without_the_right(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    async with acting(app_engine, at.tenant_id, write_patient=units(at.elsewhere)) as session:
        asked = select(func.copy_to_sites(at.tenant_id, at.patient.id))
        make_differ = (
            update(PatientSite).values(given_key="x").where(PatientSite.tenant_id == at.tenant_id)
        )
        with database.owner_engine.begin() as owner:
            owner.execute(make_differ)
        assert await session.scalar(asked) == 0
        assert [s.given_key for s in await differing(session, at)] == ["x"]


async def test_of_two_corrections_of_one_version_the_second_is_refused(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async def correct(city: str) -> int | None:
        try:
            async with acting(app_engine, at.tenant_id) as session:
                patient = await session.get_one(Patient, (at.tenant_id, at.patient.id))
                await update_demographics(session, at.agent, SEALER, patient, 1, {"city": city})
        except StaleVersion as stale:
            return stale.current
        return None

    ended = await asyncio.gather(correct("Austin"), correct("Boston"))
    assert sorted(ended, key=str) == [2, None]


async def test_admission_needs_all_three_and_says_the_same_for_every_miss(
    at: Stage, app_engine: AsyncEngine
) -> None:
    there = {"scope_patient": units(at.elsewhere), "write_patient": units(at.elsewhere)}
    mrn, born = at.patient.mrn, dt.date(1980, 5, 17)
    told = set()
    for asked in (
        (mrn + "0", born, "Garcia"),
        (mrn, dt.date(1980, 5, 18), "Garcia"),
        (mrn, born, "G"),
    ):
        async with acting(app_engine, at.tenant_id, **there) as session:
            with pytest.raises(NoMatch) as refused:
                await admit(session, at.agent, at.elsewhere, *asked)
            told.add((refused.value.code, refused.value.message))
    assert len(told) == 1
    async with acting(app_engine, at.tenant_id, **there) as session:
        ward = at.tree.departments[1][0]
        patient = await admit(session, at.agent, ward, f" {mrn} ", born, "GARCÍA")
        assert patient.given_name == "Lena"
        assert [s.unit_id for s in await sites(session, patient)] == [at.elsewhere.id, ward.id]
    async with acting(app_engine, at.tenant_id) as session:
        assert await differing(session, at) == []
        failed = ("patient:admit", "failed")
        assert await audited(session, at.agent) == [failed] * 3 + [("patient:admit", "done")]


async def test_a_patient_of_raised_sensitivity_is_not_admitted(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    hidden, *hidden_sites = make.patient_at(
        at.tree.tenant, at.clinic, mrn="H1", family_name="Hidden", sensitivity=1
    )
    make.save(database, hidden, *hidden_sites)
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(NoMatch):
            await admit(session, at.agent, at.elsewhere, "H1", dt.date(1980, 5, 17), "Hidden")


async def test_a_site_is_added_once(at: Stage, app_engine: AsyncEngine) -> None:
    for _ in range(2):
        async with acting(app_engine, at.tenant_id) as session:
            patient = await session.get_one(Patient, (at.tenant_id, at.patient.id))
            await add_site(session, at.agent, patient, at.tree.departments[1][0])
            assert len(await sites(session, patient)) == 3


async def test_a_department_sees_a_patient_of_its_clinic_and_of_no_other(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        site = await seen_at(session, at.agent, at.patient.id, at.ward)
        assert (site.clinic_id, site.unit_id) == (at.clinic.id, at.ward.id)
        assert await seen_at(session, at.agent, at.patient.id, at.ward) == site
        assert [s.given_key for s in await sites(session, at.patient)] == ["lena"] * 2
        for place in (at.elsewhere, at.tree.departments[1][0]):
            with pytest.raises(NotFound):
                await seen_at(session, at.agent, at.patient.id, place)


async def test_a_new_site_waits_for_a_correction_under_way(
    at: Stage, app_engine: AsyncEngine
) -> None:
    begun = asyncio.Event()

    async def correct() -> None:
        async with acting(app_engine, at.tenant_id) as session:
            patient = await session.get_one(Patient, (at.tenant_id, at.patient.id))
            change: Demographics = {"family_name": "Weber"}
            await update_demographics(session, at.agent, SEALER, patient, 1, change)
            begun.set()
            await asyncio.sleep(0.2)

    async def see() -> None:
        await begun.wait()
        async with acting(app_engine, at.tenant_id) as session:
            patient = await session.get_one(Patient, (at.tenant_id, at.patient.id))
            await add_site(session, at.agent, patient, at.elsewhere)

    await asyncio.gather(correct(), see())
    async with acting(app_engine, at.tenant_id) as session:
        assert {s.family_key for s in await sites(session, at.patient)} == {"weber"}


def test_refusals_name_a_stable_code() -> None:
    found: list[type[DomainError]] = [NoMatch, AlreadyRegistered, StaleVersion, NotFound]
    assert {e.code for e in found} == {
        "NO_MATCH",
        "ALREADY_REGISTERED",
        "STALE_VERSION",
        "NOT_FOUND",
    }
