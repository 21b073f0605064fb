"""Whoever listens is told of each appointment that a command has written, once it is committed, and that something was
written by which people stand; and of nothing else."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from authz.guard import guarded_session
from domain.appointments import Appointment, release_expired
from domain.audit import Agent
from domain.changes import STANDING, Change, channel
from domain.model import Base
from domain.organization import MfaPolicy
from identity.lifecycle import set_session_limits
from identity.revocation import cut_everybody, note_end
from identity.second_factors import configure_mfa, drafted_rule
from identity.sync import cell_session
from tests.api.commands.cases import CASES, Case, Scene
from tests.api.commands.office import Answer, Office, local, soon

pytestmark = pytest.mark.anyio
of_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutation)


class Ear:
    """Hears both health systems as the application's role does, and knows what was really written."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.told: list[tuple[str, str]] = []
        self.connection = psycopg.connect(office.database.app_url, autocommit=True)
        self.connection.add_notify_handler(lambda n: self.told.append((n.channel, n.payload)))
        for system in (office.here, office.there):
            self.connection.execute(f'listen "{channel(system.tenant.tenant_id)}"')
        self.before = self.rows()
        self.stood = self.standing()

    def standing(self) -> dict[uuid.UUID, str]:
        """By health system, what stamps look at."""
        people = "select string_agg(concat_ws(' ', p.version, p.active, p.tokens_valid_from), ',' order by p.id) from person p where p.tenant_id = t.tenant_id"
        ended = "select string_agg(r.sid, ',' order by r.sid) from revoked_session r where r.tenant_id = t.tenant_id"
        found = self.office.query(
            f"select t.tenant_id, concat_ws('|', t.version, t.state, ({people}), ({ended})) as state from tenant t"
            " where t.tenant_id = any(%s)",
            [self.office.here.tenant.tenant_id, self.office.there.tenant.tenant_id],
        )
        return {row["tenant_id"]: row["state"] for row in found}

    def rows(self) -> dict[uuid.UUID, tuple[str, uuid.UUID, uuid.UUID]]:
        """Each appointment with the transaction that wrote it last, its health system and its clinic."""
        ids = [self.office.here.tenant.tenant_id, self.office.there.tenant.tenant_id]
        found = self.office.query(
            "select id, xmin::text, tenant_id, clinic_id from appointment where tenant_id = any(%s)",
            ids,
        )
        return {row["id"]: (row["xmin"], row["tenant_id"], row["clinic_id"]) for row in found}

    def written(self) -> list[tuple[str, str]]:
        """What has to be told of what was written since the last look, in some order."""
        before, self.before = self.before, self.rows()
        stood, self.stood = self.stood, self.standing()
        appointments = [
            (channel(tenant), f"appointment {clinic} {id_}")
            for id_, (writer, tenant, clinic) in self.before.items()
            if before.get(id_, ("",))[0] != writer
        ]
        vouching = [
            (channel(tenant), f"{STANDING} {tenant} {tenant}")
            for tenant, state in self.stood.items()
            if stood[tenant] != state
        ]
        return sorted(appointments + vouching)

    def heard(self) -> list[tuple[str, str]]:
        """What was told since the last look; a commit has signalled us before it was answered."""
        self.connection.execute("select 1")
        told, self.told = self.told, []
        return sorted(told)


@pytest.fixture
def ear(office: Office) -> Iterator[Ear]:
    made = Ear(office)
    yield made
    made.connection.close()


def scene(office: Office) -> Scene:
    return Scene(office, office.here, "a", office.here.person("clinic_admin@a"))


@of_cases
async def test_each_command_tells_what_it_wrote(office: Office, ear: Ear, case: Case) -> None:
    at = scene(office)
    given = case.given(at) | {"idempotencyKey": str(uuid.uuid4())}
    ear.written()  # the scene's own
    assert (await office.do(at.asker, case.mutation, **given)).outcome == "DONE"
    assert ear.heard() == ear.written()
    await office.do(at.asker, case.mutation, **given)
    assert ear.heard() == ear.written() == []


async def test_the_cases_write_appointments_in_all_their_ways(office: Office, ear: Ear) -> None:
    """Else the test above would compare nothing with nothing."""
    at, numbers = scene(office), {}
    for case in CASES:
        given = case.given(at)
        ear.written()
        await office.do(at.asker, case.mutation, **given)
        numbers[case.mutation] = len(ear.written())
    assert numbers["bookAppointment"] == numbers["cancelAppointment"] == 1
    assert numbers["rescheduleAppointment"] == 2
    assert numbers["cancelAppointmentSeries"] == 2
    assert numbers["moveAppointmentSeries"] == 4
    assert {m for m, n in numbers.items() if n} >= {
        "bookAppointmentSeries", "holdAppointment", "confirmAppointment", "overbookAppointment",
        "noShowAppointment", "checkInAppointment", "offerFromWaitlist", "acceptWaitlistOffer",
        "declineWaitlistOffer",
    }  # fmt: skip


@of_cases
async def test_who_is_refused_tells_nothing(office: Office, ear: Ear, case: Case) -> None:
    at = scene(office)
    given = case.given(at)
    nobody = office.there.person("nurse@b")
    ear.written()
    assert (await office.do(nobody, case.mutation, **given)).outcome != "DONE"
    assert ear.heard() == ear.written() == []


def hold(at: Scene) -> Appointment:
    """A hold that has expired, saved."""
    now = dt.datetime.now(dt.UTC)
    made: Appointment = at.appointment(state="pending", expires_at=now - dt.timedelta(minutes=1))
    return made


async def book(office: Office, at: Scene, **given: Any) -> Answer:
    patient = f"Patient:{at.patient().id}"
    times = {"startsAt": soon().isoformat(), "minutes": 30}
    asked: dict[str, Any] = {"patient": patient, **times, **given}
    return await office.do(at.asker, "bookAppointment", **asked)


async def test_a_booking_tells_of_the_hold_that_it_ended(office: Office, ear: Ear) -> None:
    at = scene(office)
    held = hold(at)
    ear.written()
    doctor, unit = f"Practitioner:{held.practitioner_id}", at.system.unit("a")
    when = held.starts_at.isoformat()
    booked = await book(office, at, practitioner=doctor, unit=unit, startsAt=when)
    assert booked.outcome == "DONE"
    told = ear.heard()
    assert told == ear.written()
    ids = {Change.read(payload).id for _, payload in told}
    assert ids == {held.id, local(booked.data["appointment"]["id"])}


async def test_the_worker_tells_of_the_holds_that_it_ends(office: Office, ear: Ear) -> None:
    at = scene(office)
    held = hold(at)
    ear.written()
    tenant_id = at.system.tenant.tenant_id
    async with cell_session(office.wiring.cell, tenant_id) as session:
        await session.execute(text("select set_config('app.write_appointment', '*', true)"))
        await release_expired(session, Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC)))
    told = ear.heard()
    assert told == ear.written()
    assert held.id in {Change.read(payload).id for _, payload in told}


async def test_a_first_visit_to_a_department_is_told(office: Office, ear: Ear) -> None:
    at = scene(office)
    doctor = f"Practitioner:{at.system.doctor('a1').id}"
    ear.written()
    booked = await book(office, at, practitioner=doctor, unit=at.system.unit("a1"))
    assert booked.outcome == "DONE"
    told = ear.heard()
    assert len(told) == 1
    assert told == ear.written()


async def test_a_visit_that_begins_is_told_of_its_appointment(office: Office, ear: Ear) -> None:
    at = scene(office)
    visit = at.appointment(starts_at=dt.datetime.now(dt.UTC).replace(microsecond=0))
    ear.written()
    given = {"unit": at.system.unit("a"), "appointment": f"Appointment:{visit.id}"}
    patient = f"Patient:{visit.patient_id}"
    started = await office.do(at.asker, "startEncounter", patient=patient, **given)
    assert started.outcome == "DONE"
    assert [Change.read(payload).id for _, payload in ear.heard()] == [visit.id]


async def test_nothing_is_told_before_the_commit_nor_of_what_is_undone(
    office: Office, ear: Ear
) -> None:
    at = scene(office)
    visit = at.appointment()
    actor = await office.wiring.actors.actor(at.system.token(at.asker))
    async with guarded_session(office.wiring.cell, actor) as session:
        await session.allow("appointment:cancel")
        row = await session.get_one(Appointment, (visit.tenant_id, visit.id))
        row.comment = "Zyxwvutson"
        await session.flush()
        await asyncio.sleep(0.05)
        assert ear.heard() == []
        await session.rollback()
        await session.commit()
    assert ear.heard() == []


async def test_another_health_system_cannot_be_told(office: Office, ear: Ear) -> None:
    own, other = office.here.tenant.tenant_id, office.there.tenant.tenant_id
    async with cell_session(office.wiring.cell, own) as session:
        told = text("select tell(:t, 'appointment', :t, :t)")
        assert await session.scalar(told, {"t": other}) is None
        assert await session.scalar(told, {"t": own}) is True
    assert [name for name, _ in ear.heard()] == [channel(own)]


async def test_nothing_of_a_patient_is_in_what_is_told(office: Office, ear: Ear) -> None:
    at = scene(office)
    visit = at.appointment(reason="Zyxwvutson", comment="Zyxwvutson")
    await office.do(at.asker, "cancelAppointment", id=f"Appointment:{visit.id}", version=1)
    ((name, payload),) = ear.heard()
    assert name == f"caretree:{visit.tenant_id}"
    assert payload == f"appointment {visit.clinic_id} {visit.id}"
    assert Change.read(payload) == Change("appointment", visit.clinic_id, visit.id)


def test_only_placed_rows_are_told() -> None:
    told = {m.class_.__name__ for m in Base.registry.mappers if m.class_.__told__}
    assert told == {"Appointment"}


async def test_everybody_is_told_to_look_when_the_rules_of_a_health_system_change(
    office: Office, ear: Ear
) -> None:
    """Also where a function of the database writes them, which the session does not see."""
    tenant_id = office.here.tenant.tenant_id
    rule = drafted_rule(MfaPolicy.ADMINS, ["totp", "passkey"], 14)
    ear.written()
    for change in (
        lambda session, agent: configure_mfa(session, agent, rule),
        lambda session, agent: set_session_limits(session, agent, 1700, 36000),
        lambda session, agent: cut_everybody(session, agent, 1),
        lambda session, agent: note_end(session, agent, None, "a session", 1),
    ):
        async with cell_session(office.wiring.cell, tenant_id) as session:
            await change(session, Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC)))
        told = ear.heard()
        assert (
            told == ear.written() == [(channel(tenant_id), f"{STANDING} {tenant_id} {tenant_id}")]
        )
    # Who asks next is read anew.
    await office.ask(scene(office).asker, "{ viewer { userName } }")
