"""Admissions are counted by person in a real Valkey; who cannot be counted is refused."""

import uuid

import httpx
import pytest

from api.http.graphql import GraphQLEndpoint, Ports
from api.rates import LIMITS, RateLimited, Rates, RatesUnavailable, Tally
from api.schema import build_schema
from domain.people import Person
from tests.api.commands.cases import BY_MUTATION, Scene
from tests.api.commands.office import Office, local

pytestmark = pytest.mark.anyio

MINUTE = LIMITS["patient:admit"][0].amount
WRONG = {"mrn": "none", "birthDate": "1980-05-17", "familyName": "None"}


async def test_too_many_tries_are_refused(office: Office) -> None:
    desk, other = (office.here.person("front_desk@a", fresh=True) for _ in range(2))
    place = {"unit": office.here.unit("a")}
    for _ in range(MINUTE):
        assert (await office.do(desk, "admitPatient", **WRONG, **place)).outcome == "NO_MATCH"
    known = BY_MUTATION["admitPatient"].given(Scene(office, office.here, "a", desk))
    before = office.snapshot()
    refused = await office.do(desk, "admitPatient", **known)
    assert refused.error["code"] == "RATE_LIMITED"
    assert 1 <= refused.error["retryAfter"] <= 60
    assert office.snapshot() == before
    assert (await office.do(other, "admitPatient", **known)).outcome == "DONE"


async def test_a_failed_admission_stays_on_record(office: Office) -> None:
    desk = office.here.person("front_desk@a", fresh=True)
    before, known = office.snapshot(), office.recorded()
    answer = await office.do(desk, "admitPatient", **WRONG, unit=office.here.unit("a"))
    assert answer.user_error["code"] == "NO_MATCH"
    assert answer.user_error["path"] is None
    (event,) = office.events(known)
    assert (event["action"], event["outcome"]) == ("patient:admit", "failed")
    assert (event["person_id"], event["request_id"]) == (desk.id, answer.request_id)
    assert event["subject_ids"] == []
    changed = {t for t, digest in office.snapshot().items() if digest != before[t]}
    assert changed == {"audit_event"}


@pytest.mark.parametrize("part", ["mrn", "birthDate", "familyName"])
async def test_any_difference_is_the_same_mismatch(office: Office, part: str) -> None:
    desk = office.here.person("front_desk@a", fresh=True)
    given = BY_MUTATION["admitPatient"].given(Scene(office, office.here, "a", desk))
    near = given | {part: WRONG[part] if part != "birthDate" else "1980-05-18"}
    right = await office.do(desk, "admitPatient", **WRONG, unit=given["unit"])
    answer = await office.do(desk, "admitPatient", **near)
    assert answer.data == right.data
    assert (await office.do(desk, "admitPatient", **given)).outcome == "DONE"


async def test_counts_are_shared_and_each_persons_own(redis_url: str) -> None:
    tenant, one, other = (uuid.uuid4() for _ in range(3))
    here, there = Rates(redis_url), Rates(redis_url)
    for i in range(MINUTE):
        await (here, there)[i % 2].count("patient:admit", tenant, one)
    for rates in (here, there):
        with pytest.raises(RateLimited) as refused:
            await rates.count("patient:admit", tenant, one)
        assert 1 <= refused.value.retry_after <= 60
        await rates.count("patient:admit", tenant, other)
        await rates.close()


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:1/0"])
async def test_nobody_is_admitted_uncounted(url: str | None) -> None:
    rates = Rates(url)
    with pytest.raises(RatesUnavailable):
        await rates.count("patient:admit", uuid.uuid4(), uuid.uuid4())
    await rates.close()


async def test_without_redis_the_rest_goes_on(office: Office) -> None:
    desk = office.here.person("front_desk@a", fresh=True)
    scene = Scene(office, office.here, "a", desk)
    held = office.wiring.rates
    away = Rates("redis://127.0.0.1:1/0")
    object.__setattr__(office.wiring, "rates", away)
    try:
        before = office.snapshot()
        refused = await office.do(desk, "admitPatient", **BY_MUTATION["admitPatient"].given(scene))
        assert refused.error["code"] == "UNAVAILABLE"
        assert office.snapshot()["patient_site"] != before["patient_site"]  # the scene's own
        assert office.snapshot()["audit_event"] == before["audit_event"]
        given = BY_MUTATION["updatePatient"].given(scene)
        assert (await office.do(desk, "updatePatient", **given)).outcome == "DONE"
    finally:
        object.__setattr__(office.wiring, "rates", held)
        await away.close()


async def test_who_is_refused_all_the_time_waits(office: Office) -> None:
    """Each refusal is on record; beyond a number of them nothing is judged, so there is nothing to record."""
    nurse, other = (office.here.person("nurse@a", fresh=True) for _ in range(2))
    scene = Scene(office, office.here, "a", nurse)
    forbidden = BY_MUTATION["updatePatient"].given(scene)
    hers = BY_MUTATION["startEncounter"].given(scene)
    unseen = BY_MUTATION["finishEncounter"].given(Scene(office, office.here, "b", nurse))
    booking = BY_MUTATION["bookAppointment"].given(scene)
    held = office.wiring.refusals
    object.__setattr__(office.wiring, "refusals", Tally(3, clock=lambda: 30.0))
    try:
        known = office.recorded()
        assert (await office.do(nurse, "updatePatient", **forbidden)).outcome == "FORBIDDEN"
        assert (await office.do(nurse, "finishEncounter", **unseen)).outcome == "NOT_FOUND"
        assert (await office.do(nurse, "bookAppointment", **booking)).outcome == "FORBIDDEN"
        events = office.events(known)
        assert [(e["action"], e["outcome"]) for e in events] == [
            ("patient:update", "denied"),
            ("encounter:finish", "denied"),
            ("appointment:book", "denied"),
        ]
        assert [e["subject_ids"] for e in events[:2]] == [
            [local(forbidden["id"])],
            [local(unseen["id"])],
        ]
        assert {local(booking["patient"]), local(booking["practitioner"])} == {
            *events[2]["subject_ids"]
        }
        assert events[2]["clinic_id"] == office.here.units["a"].id
        for mutation, given in (
            ("updatePatient", forbidden),
            ("startEncounter", hers),
            ("bookAppointment", booking),
        ):
            refused = await office.do(nurse, mutation, **given)
            assert (refused.error["code"], refused.error["retryAfter"]) == ("RATE_LIMITED", 30)
        assert office.recorded() == known + 3
        assert (await office.do(other, "startEncounter", **hers)).outcome == "DONE"
    finally:
        object.__setattr__(office.wiring, "refusals", held)


async def test_plans_are_rationed_by_person_too(office: Office) -> None:
    ports = Ports(
        office.wiring.actors.actor, office.wiring.context, compiling=Tally(1e-9, lambda: 30.0)
    )
    endpoint = GraphQLEndpoint(build_schema(), lambda: ports, deadline=20)
    one, other = (office.here.person("nurse@a", fresh=True) for _ in range(2))

    async def asked(who: Person, text: str) -> str:
        headers = {"authorization": f"Bearer {office.here.token(who)}"}
        transport = httpx.ASGITransport(endpoint)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            body = (await http.post("/", json={"query": text}, headers=headers)).json()
        return body["errors"][0]["extensions"]["code"] if "errors" in body else "OK"

    text = "{ patients(first: 1) { nodes { id mrn } } }"
    assert await asked(one, text) == "RATE_LIMITED"  # the document was the whole share
    assert await asked(other, text) == "OK"
    assert await asked(one, text) == "OK"
    assert await asked(one, text.replace("mrn", "sex")) == "RATE_LIMITED"
