"""Rules, settings and wordings of reminders through the API: who changes them, what is refused, what patients want."""

import base64
import datetime as dt
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.reminders import look
from domain.reminders.deliveries import SEALED
from identity.reminders import LOOK
from tests import make, reminders
from tests.api.commands.cases import ADMINS, EVERYBODY, LOWEST, SEE_APPOINTMENTS
from tests.api.commands.office import Answer, Office, local
from tests.domain.acting import acting

pytestmark = pytest.mark.anyio


def saved(office: Office, place: str, **values: Any) -> Any:
    made = reminders.rule(office.here.units[place], **values)
    office.here.save(made)
    return made


def jobs(office: Office) -> int:
    """How many jobs are to look through the health system's calendar."""
    text = (
        "select count(*) as n from procrastinate_jobs where task_name = %s and status = 'todo'"
        " and args ->> 'tenant_id' = %s"
    )
    return int(office.query(text, LOOK, str(office.here.tenant.tenant_id))[0]["n"])


@pytest.mark.parametrize("role", sorted(EVERYBODY))
async def test_rules_are_changed_by_who_administers_their_unit(office: Office, role: str) -> None:
    """Whoever reads appointments anywhere sees them, so they are forbidden and not hidden."""
    node = LOWEST.get(role, "a")
    asker = office.here.person(f"{role}@{node}")
    rule, wording = saved(office, "a"), reminders.template(office.here.units["a"], language="fr")
    above = saved(office, "system", minutes_before=1000, active=False)
    office.here.save(wording)
    hidden = "FORBIDDEN" if role in SEE_APPOINTMENTS else "NOT_FOUND"
    given = {"id": f"ReminderRule:{rule.id}", "version": 1, "minutesBefore": 77}
    changed = await office.do(asker, "changeReminderRule", "minutesBefore version", **given)
    assert changed.outcome == ("DONE" if role in ADMINS else hidden)
    gone = await office.do(
        asker, "withdrawReminderTemplate", id=f"ReminderTemplate:{wording.id}", version=1
    )
    assert gone.outcome == ("DONE" if role in ADMINS else hidden)
    upper = await office.do(
        asker, "changeReminderRule", id=f"ReminderRule:{above.id}", version=1, active=True
    )
    assert upper.outcome == ("DONE" if role == "system_admin" else hidden)
    office.change(
        "delete from reminder_rule where unit_id = any(%s)", [rule.unit_id, above.unit_id]
    )
    office.change("delete from reminder_template where id = %s", wording.id)


async def test_a_rule_has_the_calendar_looked_through_once(office: Office) -> None:
    admin = office.here.person("system_admin@system")
    office.change("delete from reminder_watch where tenant_id = %s", office.here.tenant.tenant_id)
    before = jobs(office)
    given = {"unit": office.here.unit("b"), "channel": "EMAIL"}
    one = await office.do(admin, "addReminderRule", "active since", **given, minutesBefore=120)
    assert jobs(office) == before + 1
    same = await office.do(admin, "addReminderRule", **given, minutesBefore=120)
    assert same.user_error == {
        "code": "RULE_EXISTS",
        "message": "This unit has such a rule already.",
        "path": ["minutesBefore"],
    }
    assert (
        await office.do(admin, "addReminderRule", **given, minutesBefore=None)
    ).outcome == "DONE"
    assert jobs(office) == before + 1
    rule = one.data["rule"]
    off = await office.do(
        admin, "changeReminderRule", "active minutesBefore", id=rule["id"], version=1, active=False
    )
    assert off.data["rule"] == {"id": rule["id"], "active": False, "minutesBefore": 120}
    stale = await office.do(admin, "changeReminderRule", id=rule["id"], version=1, active=True)
    assert stale.error["code"] == "CONFLICT"


@pytest.mark.parametrize(
    ("mutation", "given", "path"),
    [
        ("addReminderRule", {"minutesBefore": 14}, "minutesBefore"),
        ("addReminderRule", {"minutesBefore": 43_201}, "minutesBefore"),
        ("addReminderRule", {"minutesBefore": -60}, "minutesBefore"),
        ("setReminderSettings", {"quietFrom": "21:00:00"}, "quietUntil"),
        ("setReminderSettings", {"quietFrom": "07:00:00", "quietUntil": "23:30:00"}, "quietUntil"),
        ("setReminderSettings", {"quietFrom": "21:00:30", "quietUntil": "08:00:00"}, "quietFrom"),
        ("setReminderSettings", {"phone": "call us"}, "phone"),
        ("setReminderSettings", {"displayName": "Lake\u202eside"}, "displayName"),
        ("setReminderSettings", {"displayName": "x\r\nBcc: a@b.example"}, "displayName"),
        ("setReminderWebhook", {"url": "http://sms.example/"}, "url"),
        ("setReminderWebhook", {"url": "https://user:word@sms.example/"}, "url"),
        ("setReminderWebhook", {"url": "https:///nowhere"}, "url"),
        ("setReminderWebhook", {"url": "https://sms.example:0/"}, "url"),
        ("setReminderWebhook", {"url": "https://[::1"}, "url"),
        ("setReminderWebhook", {"url": "file:///etc/passwd"}, "url"),
        ("setReminderWebhook", {"url": "https://sms.example/" + "x" * 500}, "url"),
        ("setReminderTemplate", {"language": "tlh-x"}, "language"),
        ("setReminderTemplate", {"body": "{service}"}, "body"),
        ("setReminderTemplate", {"body": "{patient.address}"}, "body"),
        ("setReminderTemplate", {"subject": "{date"}, "subject"),
        ("setReminderTemplate", {"subject": "On {date}\nBcc: a@b.example"}, "subject"),
        ("setReminderTemplate", {"body": "x" * 2_001}, "body"),
    ],
)
async def test_what_cannot_be_taken(
    office: Office, mutation: str, given: dict[str, Any], path: str
) -> None:
    admin = office.here.person("system_admin@system")
    at = {"unit": office.here.unit("c")}
    plain: dict[str, dict[str, Any]] = {
        "addReminderRule": {"channel": "WEBHOOK"},
        "setReminderSettings": {"version": 0},
        "setReminderWebhook": {"version": 0},
        "setReminderTemplate": {"version": 0, "language": "en", "subject": "s", "body": "b"},
    }
    before = office.snapshot()
    answer = await office.do(admin, mutation, **at | plain[mutation] | given)
    assert answer.user_error["path"] == [path], answer.body
    assert office.snapshot() == before


async def hooked(office: Office, who: Any, **given: Any) -> Answer:
    text = (
        "mutation($input: SetReminderWebhookInput!) { setReminderWebhook(input: $input) {"
        " settings { id version webhookUrl } secret userErrors { code } } }"
    )
    return await office.ask(who, text, {"input": given})


async def test_a_secret_is_told_once_and_lies_sealed(office: Office) -> None:
    admin = office.here.person("system_admin@system")
    given = {"unit": office.here.unit("c1"), "version": 0, "url": "https://sms.example/hook"}
    first = await hooked(office, admin, **given, idempotencyKey="once")
    again = await hooked(office, admin, **given, idempotencyKey="once")
    secret = first.data["secret"]
    assert secret.startswith("whsec_")
    assert again.data["secret"] is None
    assert again.data["settings"] == first.data["settings"]
    setting = local(first.data["settings"]["id"])
    (row,) = office.query("select * from reminder_setting where id = %s", setting)
    keys = await office.wiring.keyring.of(office.here.tenant.tenant_id)
    opened = keys.open(SEALED, setting, row["webhook_secret_sealed"])
    assert base64.b64encode(opened).decode() == secret.removeprefix("whsec_")
    # Whoever reads appointments reads the settings, but not where reminders go.
    nurse = office.here.person("nurse@c")
    query = "query($n: ID!) { reminderSettings(node: $n) { id webhookUrl maskedGroups } }"
    seen = (await office.ask(nurse, query, {"n": office.here.unit("c1")})).data
    mine = next(s for s in seen if s["id"] == first.data["settings"]["id"])
    assert (mine["webhookUrl"], mine["maskedGroups"]) == (None, ["IDENTIFIERS"])
    stale = await hooked(office, admin, **given)
    assert stale.error["code"] == "CONFLICT"
    version = first.data["settings"]["version"]
    gone = await hooked(office, admin, **given | {"version": version, "url": None})
    assert (gone.data["secret"], gone.data["settings"]["webhookUrl"]) == (None, None)


async def test_what_is_left_out_stays(office: Office) -> None:
    admin = office.here.person("system_admin@system")
    unit = {"unit": office.here.unit("q")}
    select = "quietFrom quietUntil displayName phone version"
    hours = {"quietFrom": "20:00:00", "quietUntil": "09:00:00"}
    given = {**unit, "version": 0, **hours, "displayName": "Q Health", "phone": "+1 202 555 0143"}
    one = await office.do(admin, "setReminderSettings", select, **given)
    assert one.data["settings"]["phone"] == "+12025550143"
    two = await office.do(admin, "setReminderSettings", select, **unit, version=1, displayName=None)
    assert two.data["settings"] == one.data["settings"] | {"displayName": None, "version": 2}


async def test_what_a_patient_wants(office: Office) -> None:
    desk = office.here.person("front_desk@a")
    patient = f"Patient:{office.here.patient('a').id}"

    async def wants(version: int, **demographics: Any) -> Answer:
        select = "zone reminderOptOuts version"
        given = {"id": patient, "version": version, "demographics": demographics}
        return await office.do(desk, "updatePatient", select, **given)

    said = await wants(1, zone="Europe/Berlin", reminderOptOuts=["WEBHOOK", "EMAIL", "EMAIL"])
    told = {"zone": "Europe/Berlin", "reminderOptOuts": ["EMAIL", "WEBHOOK"], "version": 2}
    assert said.data["patient"] == {"id": patient} | told
    said = await wants(2, city="Berlin")
    assert said.data["patient"]["reminderOptOuts"] == ["EMAIL", "WEBHOOK"]
    said = await wants(3, zone=None, reminderOptOuts=[])
    assert said.data["patient"] == {
        "id": patient,
        "zone": None,
        "reminderOptOuts": [],
        "version": 4,
    }
    assert (await wants(4, zone="Mars/Olympus")).user_error["path"] == ["demographics", "zone"]


async def test_reminders_are_read_with_their_appointment(office: Office) -> None:
    patient, doctor = office.here.patient("a"), office.here.doctor("a")
    visit = make.appointment(patient, office.here.units["a"], doctor)
    rule = saved(office, "a", minutes_before=500)
    told = reminders.reminder(visit, rule, state="failed", cause="refused", attempts=1)
    office.here.save(visit, make.block(visit), told)
    query = (
        "query($n: ID!) { reminders(node: $n, state: FAILED) { nodes { id cause attempts"
        " appointment { id } rule { minutesBefore } } } }"
    )
    asked = {"n": office.here.unit("a")}
    seen = (await office.ask(office.here.person("front_desk@a"), query, asked)).data["nodes"]
    assert seen == [
        {
            "id": f"Reminder:{told.id}",
            "cause": "REFUSED",
            "attempts": 1,
            "appointment": {"id": f"Appointment:{visit.id}"},
            "rule": {"minutesBefore": 500},
        }
    ]
    elsewhere = await office.ask(office.here.person("front_desk@b"), query, asked)
    assert elsewhere.data is None or elsewhere.data["nodes"] == []
    assert (await office.ask(office.here.person("biller@a"), query, asked)).data is None
    office.change("delete from reminder where id = %s", told.id)
    office.change("delete from reminder_rule where id = %s", rule.id)


async def test_a_visit_that_is_booked_is_reminded_of(
    office: Office, app_engine: AsyncEngine
) -> None:
    """From the rule and the booking to what the front desk sees with the visit."""
    admin, tenant_id = office.here.person("system_admin@system"), office.here.tenant.tenant_id
    unit = {"unit": office.here.unit("b1")}
    none = {"quietFrom": "00:00:00", "quietUntil": "00:00:00"}
    await office.do(admin, "setReminderSettings", **unit, version=0, **none)
    ruled = await office.do(
        admin, "addReminderRule", **unit, channel="EMAIL", minutesBefore=25 * 60 - 3
    )
    now = make.now()
    booked = await office.do(
        admin,
        "bookAppointment",
        **unit,
        patient=f"Patient:{office.here.patient('b1').id}",
        practitioner=f"Practitioner:{office.here.doctor('b1').id}",
        startsAt=(now + dt.timedelta(hours=25)).isoformat(),
        minutes=30,
    )
    office.change(
        "update reminder_watch set looks_at = %s, checked_until = %s where tenant_id = %s",
        now,
        now,
        tenant_id,
    )
    async with acting(app_engine, tenant_id) as session:
        assert await look(session, Agent(tenant_id, make.now()))
    query = (
        "query($id: ID!) { appointment(id: $id) { reminders { state channel dueAt rule { id } } } }"
    )
    desk = office.here.person("front_desk@b")
    seen = await office.ask(desk, query, {"id": booked.data["appointment"]["id"]})
    (told,) = seen.data["reminders"]
    assert (told["state"], told["channel"]) == ("DUE", "EMAIL")
    assert told["rule"] == {"id": ruled.data["rule"]["id"]}
    assert dt.datetime.fromisoformat(told["dueAt"]) == now + dt.timedelta(minutes=3)
