"""The documents of docs/portal.md, sent one after the other through a patient's day at a clinic."""

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from domain.people import Person
from tests import make
from tests.api.commands.office import Office, soon
from tests.api.commands.test_changes import change, following
from tests.database import ROOT

pytestmark = pytest.mark.anyio


def documents() -> dict[str, str]:
    """The page's documents by the name of their operation."""
    page = (ROOT / "docs" / "portal.md").read_text()
    out = {}
    for text in re.findall(r"```graphql\n(.*?)```", page, re.S):
        (operation,) = parse(text).definitions
        assert isinstance(operation, OperationDefinitionNode)
        assert operation.name is not None
        out[operation.name.value] = text
    return out


@dataclass
class Day:
    """A clinic's day: sends the page's documents and keeps which were sent."""

    office: Office
    texts: dict[str, str] = field(default_factory=documents)
    sent: set[str] = field(default_factory=set)

    async def send(self, who: Person, name: str, /, **variables: Any) -> Any:
        """The root field's value; an operation of the page is answered without any error."""
        self.sent.add(name)
        answer = await self.office.ask(who, self.texts[name], variables)
        assert answer.outcome == "DONE", (name, answer.body)
        assert answer.data is not None, name
        return answer.data


async def checkout(day: Day, encounter: str, patient: str) -> None:
    """From the charge to the paid invoice, which turns out to be wrong."""
    system = day.office.here
    clinic = system.unit("a")
    desk, biller = system.person("front_desk@a"), system.person("biller@a")
    price = make.price(system.tenant, code=f"P-{make.number()}", price_minor=2_500)
    system.save(price)
    done = {"encounter": encounter, "codeSystem": "INTERNAL", "code": price.code}
    charge = (await day.send(system.person("provider@a"), "Charge", input=done))["charge"]
    assert (charge["state"], charge["amount"]) == ("BILLABLE", None)
    bill = {"unit": clinic, "patient": patient, "charges": [charge["id"]]}
    invoice = (await day.send(biller, "Invoice", input=bill))["invoice"]
    money = {"amount": "25.00", "currency": "USD"}
    assert (invoice["state"], invoice["total"]) == ("ISSUED", money)
    paid = {"unit": clinic, "patient": patient, "method": "CARD"}
    receipt = (await day.send(desk, "Pay", input={**paid, **money}))["receipt"]
    assert receipt["amount"] == money
    account = await day.send(biller, "Owed", patient=patient)
    assert account["balance"] == {"amount": "0.00", "currency": "USD"}

    async def bills() -> tuple[dict[str, Any], dict[str, Any]]:
        answer = await day.office.ask(biller, day.texts["Bills"], {"patient": patient})
        data = answer.body["data"]
        return data["invoices"]["nodes"][0], data["postings"]["nodes"][0]

    day.sent.add("Bills")
    found, posting = await bills()
    (line,) = found["lines"]
    assert (line["open"]["amount"], posting["unapplied"]["amount"]) == ("25.00", "25.00")
    part = [{"line": line["id"], "amount": "25.00"}]
    rest = {"id": posting["id"], "currency": "USD", "allocations": part}
    applied = (await day.send(biller, "Apply", input=rest))["posting"]
    assert applied["allocations"][0]["line"]["open"]["amount"] == "0.00"
    found, _ = await bills()
    assert found["state"] == "BALANCED"
    wrong = {"id": found["id"], "version": found["version"], "reason": "Wrong code."}
    assert (await day.send(biller, "CancelInvoice", input=wrong))["invoice"]["state"] == "CANCELLED"
    account = await day.send(biller, "Owed", patient=patient)
    assert (account["balance"]["amount"], account["unbilled"]["amount"]) == ("-25.00", "25.00")
    debtors = await day.send(biller, "Debtors", clinic=clinic)
    (mine,) = (row for row in debtors["nodes"] if row["patient"]["id"] == patient)
    assert mine["receivables"]["unapplied"]["amount"] == "25.00"
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(days=40)).date().isoformat()
    closed = await day.send(biller, "CloseDay", input={"clinic": clinic, "day": past})
    assert closed["dailyClose"]["day"] == past


async def test_a_day_at_the_clinic(office: Office) -> None:
    day, clinic = Day(office), office.here.unit("a")
    desk = office.here.person("front_desk@a")
    provider = office.here.person("provider@a")
    works = office.here.doctor("a")
    doctor, room = f"Practitioner:{works.id}", make.bookable(office.here.tenant)
    every = {"weekdays": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}
    office.here.save(room, make.assignment(room, office.here.units["a"]))
    office.here.save(make.rule(office.here.units["a"], works, **every))

    person = {"familyName": "Zyxwvutson Portal", "givenName": "Ana", "birthDate": "1980-02-29"}
    registered = await day.send(desk, "Register", input={"unit": clinic, "demographics": person})
    patient = registered["patient"]["id"]
    found = await day.send(desk, "Search", clinic=clinic, name="Zyxwvutson P")
    assert [row["id"] for row in found["nodes"]] == [patient]

    start = soon()
    when = {"date": start.date().isoformat()}
    (open_,) = await day.send(desk, "Slots", clinic=clinic, practitioner=doctor, **when)
    assert (open_["resource"], open_["hasRules"]) == (doctor, True)
    slot = {"startsAt": open_["slots"][0]["startsAt"], "minutes": 30, "reason": "Cough"}
    asked = {"unit": clinic, "patient": patient, "practitioner": open_["resource"], **slot}
    asked["rooms"] = [f"BookableResource:{room.id}"]
    day.sent.add("DayChanges")
    async with following(office, desk, clinic, day.texts["DayChanges"]) as changes:
        assert (await change(changes))["kind"] == "LISTENING"
        booked = (await day.send(desk, "Book", input=asked))["appointment"]
        told = (await change(changes))["appointment"]
    assert (told["id"], told["patient"]["id"]) == (booked["id"], patient)
    board = await day.send(desk, "Day", clinic=clinic, **when)
    (row,) = [row for row in board["nodes"] if row["id"] == booked["id"]]
    assert [kept["id"] for kept in row["resources"]] == asked["rooms"]
    here = {"id": booked["id"], "version": booked["version"]}
    arrived = (await day.send(desk, "CheckIn", input=here))["appointment"]
    assert arrived["state"] == "CHECKED_IN"

    visit = {"unit": clinic, "patient": patient, "appointment": booked["id"], "reason": "Cough"}
    encounter = (await day.send(provider, "Start", input=visit))["encounter"]
    text = {"encounter": encounter["id"], "kind": "PROGRESS", "body": "Better."}
    note = (await day.send(provider, "Write", input=text))["note"]
    signed = await day.send(provider, "Sign", input={"id": note["id"], "version": note["version"]})
    assert signed["note"]["state"] == "SIGNED"
    chart = await day.send(provider, "Chart", patient=patient)
    assert [n["body"] for n in chart["encounters"][0]["notes"]] == ["Better."]
    assert chart["maskedGroups"] == ["BILLING"]

    finished = {"id": encounter["id"], "version": encounter["version"]}
    assert (await day.send(provider, "Finish", input=finished))["encounter"]["state"] == "FINISHED"
    await checkout(day, encounter["id"], patient)

    assert day.sent == set(day.texts), "an operation of the page is not sent"
