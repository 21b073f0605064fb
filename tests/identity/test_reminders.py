"""Reminders from the rule to the mailbox: by jobs, over a real mail server, once, also where a worker is killed."""

import asyncio
import datetime as dt
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.database import engine
from domain.key_providers import FileKeyProvider
from domain.patients import Channel, Patient
from domain.reminders.deliveries import SEALED
from domain.sealing import Keyring, SecretSealer
from identity.accounts import Accounts
from identity.jobs import RETRY_STALLED, Resources, make_app, work_off
from identity.keycloak import Account
from identity.mail import Mail, MailServer
from identity.reminders import LOOK, SEND, Notifiers
from identity.webhooks import Webhooks, signature
from tests import make, reminders
from tests.database import ROOT, Database
from tests.domain.acting import Stage, stage
from tests.identity.conftest import without_jobs
from tests.identity.receivers import Hook, Postbox, hook, postbox

pytestmark = pytest.mark.anyio
QUIET = dt.time(0), dt.time(0)
SECRET = b"s" * 32


@dataclass
class Clinic:
    """A health system with rules, its worker, and where its reminders arrive."""

    at: Stage
    database: Database
    owner: AsyncEngine
    keys: Path
    resources: Resources
    box: Postbox
    hook: Hook

    def visit(self, hours: float = 24, **values: Any) -> Any:
        """A visit whose reminder of a day before is due about now; of a patient of its own."""
        who, *sites = make.patient_at(
            self.at.tree.tenant,
            self.at.clinic,
            **{"given_name": "Zora", "family_name": "Zyxwvutson", "email": "zora@mail.example"}
            | values,
        )
        assert isinstance(who, Patient)
        starts = make.now().replace(microsecond=0) + dt.timedelta(hours=hours, seconds=90)
        made = make.appointment(
            who,
            self.at.clinic,
            self.at.practitioner,
            starts_at=starts,
            ends_at=starts + dt.timedelta(minutes=30),
            created_at=make.now() - dt.timedelta(days=9),
            reason="Zyxwvutson's chemotherapy",
        )
        make.save(self.database, who, *sites, made)
        return made

    async def run(self, query: str, **values: Any) -> list[Any]:
        async with self.owner.begin() as owner:
            rows = await owner.execute(text(query), {"t": self.at.tenant_id} | values)
            return list(rows.all()) if rows.returns_rows else []

    async def look(self) -> None:
        """Have the calendar looked through, now."""
        await self.run(
            "insert into reminder_watch values (:t, now() - interval '1 minute', now())"
            " on conflict (tenant_id) do update set looks_at = now()"
        )
        await self.defer(LOOK)
        await self.work()

    async def defer(self, task: str, **args: str) -> None:
        async with make_app(self.database.worker_url).open_async() as app:
            tenant = {"tenant_id": str(self.at.tenant_id)}
            await app.configure_task(task, queue="identity").defer_async(**tenant, **args)

    async def due_now(self) -> None:
        """Time passes until the jobs that wait are due."""
        await self.run(
            "update procrastinate_jobs set scheduled_at = now() where status = 'todo'"
            " and args ->> 'tenant_id' = cast(:t as text) and task_name = :task",
            task=SEND,
        )
        await self.run(
            "update reminder set due_at = least(due_at, now()), held_until = now() where tenant_id = :t"
            " and state in ('due', 'sending')"
        )

    async def work(self) -> None:
        await work_off(self.database.worker_url, self.resources)

    async def sent(self) -> None:
        """Look, wait, and send."""
        await self.look()
        await self.due_now()
        await self.work()

    async def told(self) -> list[tuple[str, str | None, int]]:
        """State, cause and attempts of each reminder."""
        rows = await self.run(
            "select state, cause, attempts from reminder where tenant_id = :t order by due_at, id"
        )
        return [tuple(row) for row in rows]


@pytest.fixture
async def clinic(
    database: Database, owner_engine: AsyncEngine, tmp_path: Path
) -> AsyncIterator[Clinic]:
    without_jobs(database)
    at, keys = stage(database), tmp_path / "keys.json"
    cell = engine(database.app_url, application="test-cell", size=2)
    control = engine(database.worker_url, application="test-control", size=1)
    provider = FileKeyProvider(keys)
    keyring = Keyring(provider, cell)
    await keyring.create(at.tenant_id)
    setting = reminders.setting(
        at.tree.root,
        quiet_from=QUIET[0],
        quiet_until=QUIET[1],
        display_name="Lakeside Health",
        phone="+13125550100",
    )
    async with postbox() as box, hook() as taken:
        setting.webhook_url = f"http://127.0.0.1:{taken.port}/hook?of=us"
        opened = await keyring.of(at.tenant_id)
        setting.webhook_secret_sealed = opened.seal(SEALED, setting.id, SECRET)
        make.save(database, setting, reminders.rule(at.tree.root))
        accounts = Accounts(control, SecretSealer(provider), Account("nobody", "nothing"))
        server = MailServer("127.0.0.1", box.port, "none", "clinic@health.example", "Lakeside")
        notifiers: Notifiers = {Channel.EMAIL: Mail(server), Channel.WEBHOOK: Webhooks(plain=True)}
        resources = Resources(cell, accounts, keyring, notifiers)
        yield Clinic(at, database, owner_engine, keys, resources, box, taken)
    await cell.dispose()
    await control.dispose()


async def test_a_reminder_goes_out_once(clinic: Clinic) -> None:
    visit = clinic.visit()
    await clinic.sent()
    await clinic.sent()
    (mail,) = clinic.box.taken
    assert await clinic.told() == [("sent", None, 1)]
    assert mail["To"] == "zora@mail.example"
    assert mail["From"] == "Lakeside <clinic@health.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    body = mail.get_content()  # type: ignore[attr-defined]  # of the modern policy
    assert "Zora" in body
    assert "Lakeside Health" in body
    assert "+13125550100" in body
    whole = mail.as_string() + body
    for secret in (
        "Zyxwvutson",
        "chemotherapy",
        clinic.at.clinic.name,
        clinic.at.practitioner.family_name,
    ):
        assert secret not in whole
    events = await clinic.run(
        "select action, outcome, subject_ids from audit_event where tenant_id = :t"
    )
    assert [(e.action, e.outcome) for e in events] == [("appointment:remind", "done")]
    assert visit.id in events[0].subject_ids


async def test_the_chain_goes_on_and_ends_with_the_last_rule(clinic: Clinic) -> None:
    await clinic.look()
    query = (
        "select count(*) from procrastinate_jobs where status = 'todo' and task_name = :task"
        " and args ->> 'tenant_id' = cast(:t as text)"
    )
    assert await clinic.run(query, task=LOOK) == [(1,)]
    await clinic.defer(LOOK)  # as housekeeping does
    await clinic.work()
    assert await clinic.run(query, task=LOOK) == [(1,)]
    await clinic.run("update reminder_rule set active = false where tenant_id = :t")
    await clinic.run("delete from procrastinate_jobs where task_name = :task", task=LOOK)
    await clinic.look()
    assert await clinic.run(query, task=LOOK) == [(0,)]


async def test_the_chain_goes_on_where_the_workers_clock_is_behind(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs come by the database's clock: judged by another one, a look could find itself too early and be the last."""

    class Behind(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Behind":
            return cls.fromtimestamp(time.time() - 2, tz)

    clinic.visit()
    monkeypatch.setattr(dt, "datetime", Behind)
    await clinic.look()
    assert [state for state, *_ in await clinic.told()] == ["due"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("update appointment set state = 'cancelled' where tenant_id = :t", "changed"),
        ("update appointment set state = 'noshow' where tenant_id = :t", "changed"),
        ("update reminder_rule set active = false where tenant_id = :t", "withdrawn"),
        ("update tenant set state = 'suspended' where tenant_id = :t", "withdrawn"),
        ("update patient set reminder_opt_outs = '{email}' where tenant_id = :t", "opted-out"),
        ("update patient set email = null where tenant_id = :t", "unreachable"),
        ("update patient set deceased_on = '2026-01-01' where tenant_id = :t", "unreachable"),
        ("update patient set active = false where tenant_id = :t", "unreachable"),
        ("update patient set sensitivity = 1 where tenant_id = :t", "unreachable"),
        ("update appointment set starts_at = now() + interval '4 minutes' where tenant_id = :t", "too-late"),
    ],
)  # fmt: skip
async def test_what_changed_meanwhile_counts(clinic: Clinic, change: str, cause: str) -> None:
    clinic.visit()
    await clinic.look()
    await clinic.run(change)
    await clinic.due_now()
    await clinic.work()
    assert await clinic.told() == [("skipped", cause, 0)]
    assert clinic.box.taken == []
    await clinic.run("update tenant set state = 'active' where tenant_id = :t")


async def test_the_other_channel_is_not_opted_out_of(clinic: Clinic) -> None:
    clinic.visit(reminder_opt_outs=["webhook"], phone="+13125550123")
    make.save(clinic.database, reminders.rule(clinic.at.tree.root, channel="webhook"))
    await clinic.sent()
    assert len(clinic.box.taken) == 1
    assert clinic.hook.requests == []


async def test_a_webhook_is_signed_with_the_health_systems_own_secret(clinic: Clinic) -> None:
    visit = clinic.visit(phone="+13125550123", email=None)
    await clinic.run("update reminder_rule set channel = 'webhook' where tenant_id = :t")
    clinic.hook.status = "503 Service Unavailable"
    await clinic.sent()
    clinic.hook.status = "204 No Content"
    await clinic.due_now()
    await clinic.work()
    assert await clinic.told() == [("sent", None, 2)]
    (first, body), (second, again) = clinic.hook.requests
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    seconds = int(second["webhook-timestamp"])
    assert second["webhook-signature"] == signature(SECRET, second["webhook-id"], seconds, again)
    told = json.loads(again)["data"]
    assert told["appointment"] == f"Appointment:{visit.id}"
    assert told["phone"] == "+13125550123"
    whole = again.decode()
    for secret in ("Zyxwvutson", "chemotherapy", clinic.at.clinic.name, "@"):
        assert secret not in whole


async def test_a_night_that_has_begun_is_waited_for(clinic: Clinic) -> None:
    """The worker was down until the quiet hours: the reminder goes out when they end."""
    clinic.visit()
    await clinic.look()
    local = make.now() - dt.timedelta(hours=1), make.now() + dt.timedelta(hours=2)
    await clinic.run(
        "update reminder_setting set quiet_from = cast(:f as timestamptz) at time zone 'America/Chicago',"
        " quiet_until = cast(:u as timestamptz) at time zone 'America/Chicago' where tenant_id = :t",
        f=local[0].replace(second=0, microsecond=0),
        u=local[1].replace(second=0, microsecond=0),
    )
    await clinic.due_now()
    await clinic.work()
    assert clinic.box.taken == []
    assert await clinic.told() == [("due", None, 0)]
    (row,) = await clinic.run("select due_at from reminder where tenant_id = :t")
    assert row.due_at == local[1].replace(second=0, microsecond=0)
    await clinic.run(
        "update reminder_setting set quiet_from = '0:00', quiet_until = '0:00' where tenant_id = :t"
    )
    await clinic.due_now()
    await clinic.work()
    assert await clinic.told() == [("sent", None, 1)]


async def test_what_is_not_taken_is_tried_again_and_given_up(clinic: Clinic) -> None:
    clinic.visit()

    async def later(_: Message) -> str:
        return "451 Later"

    clinic.box.answer = later
    await clinic.look()
    for n in range(1, 8):
        await clinic.due_now()
        await clinic.work()
        assert await clinic.told() == [("due", None, n)]
    await clinic.due_now()
    await clinic.work()
    assert await clinic.told() == [("failed", "exhausted", 8)]
    assert len(clinic.box.ids) == 1


async def test_what_kills_each_worker_is_given_up(clinic: Clinic) -> None:
    clinic.visit()
    await clinic.look()
    await clinic.run("update reminder set state = 'sending', attempts = 8 where tenant_id = :t")
    await clinic.due_now()
    await clinic.work()
    assert await clinic.told() == [("failed", "exhausted", 8)]
    assert clinic.box.taken == []


async def test_what_is_refused_is_not_tried_again(clinic: Clinic) -> None:
    clinic.visit()
    clinic.box.recipient = "550 Nobody of this name"
    await clinic.sent()
    assert await clinic.told() == [("failed", "refused", 1)]
    events = await clinic.run("select outcome from audit_event where tenant_id = :t")
    assert events == [("failed",)]


async def test_a_channel_that_is_not_there_fails_and_says_so(clinic: Clinic) -> None:
    clinic.visit()
    make.save(clinic.database, reminders.rule(clinic.at.tree.root, channel="webhook"))
    await clinic.run(
        "update reminder_setting set webhook_url = null, webhook_secret_sealed = null where tenant_id = :t"
    )
    await clinic.sent()
    assert sorted(await clinic.told()) == [("failed", "not-configured", 1), ("sent", None, 1)]


async def test_a_wording_of_the_patients_language(clinic: Clinic) -> None:
    make.save(
        clinic.database,
        reminders.template(
            clinic.at.clinic,
            language="pt",
            subject="{name}: {date}",
            body="Olá {patient}, {time}.\nLigue para {phone}.",
        ),
        reminders.template(clinic.at.tree.root, language="en", subject="At {name}"),
    )
    clinic.visit(language="pt-BR", given_name="{phone}", zone="America/Sao_Paulo")
    clinic.visit(language="ja")
    await clinic.sent()
    subjects = sorted(str(mail["Subject"]) for mail in clinic.box.taken)
    assert subjects[0] == "At Lakeside Health"
    assert subjects[1].startswith("Lakeside Health: ")
    (told,) = [m for m in clinic.box.taken if m["Content-Language"] == "pt"]
    assert "Olá {phone}, " in told.get_content()  # type: ignore[attr-defined]  # of the modern policy


# -- killed workers -----------------------------------------------------------------------------


@asynccontextmanager
async def worker(clinic: Clinic) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own."""
    environment = {
        **os.environ,
        "CELL_URL": clinic.database.app_url,
        "WORKER_URL": clinic.database.worker_url,
        "KEY_FILE": str(clinic.keys),
        "SMTP_PORT": str(clinic.box.port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.identity.sending", env=environment, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(clinic: Clinic, state: str) -> None:
    """Wait until the only reminder stands there."""
    for _ in range(600):
        if [row[0] for row in await clinic.told()] == [state]:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{await clinic.told()}, never {state}")


async def taken_up(clinic: Clinic) -> None:
    """What housekeeping does each minute, with the time passed in which the dead worker counts as alive."""
    await clinic.run("update procrastinate_workers set last_heartbeat = now() - interval '1 hour'")
    async with make_app(clinic.database.worker_url).open_async() as app:
        await app.configure_task(RETRY_STALLED, queue="identity").defer_async(timestamp=0)
    await clinic.work()
    await clinic.due_now()
    await clinic.work()


async def test_killed_before_the_message_was_handed_over_it_arrives_once(clinic: Clinic) -> None:
    """Between beginning the attempt and the end of the mail: the server has nothing, the next worker sends it."""
    clinic.visit()
    reached, stay = asyncio.Event(), asyncio.Event()
    box = clinic.box

    async def hold(*_: Any) -> str:
        reached.set()
        await stay.wait()
        return "250 OK"

    box.handle_MAIL = hold  # type: ignore[attr-defined]  # aiosmtpd looks handlers up by name
    await clinic.look()
    await clinic.due_now()
    async with worker(clinic) as process:
        await asyncio.wait_for(reached.wait(), 60)
        assert await clinic.told() == [("sending", None, 1)]
        process.send_signal(signal.SIGKILL)
        await process.wait()
    del box.handle_MAIL  # type: ignore[attr-defined]  # as above
    stay.set()
    assert box.taken == []
    # While the dead worker's attempt may still be alive nobody sends.
    await clinic.work()
    assert box.taken == []
    await taken_up(clinic)
    assert len(box.taken) == 1
    assert await clinic.told() == [("sent", None, 2)]


async def test_killed_after_the_server_took_it_a_repeat_is_known_as_one(clinic: Clinic) -> None:
    """The one moment that SMTP leaves open: two copies arrive, under one Message-ID."""
    clinic.visit()
    reached, stay = asyncio.Event(), asyncio.Event()

    async def hold(_: Message) -> str:
        reached.set()
        await stay.wait()
        return "250 Taken"

    clinic.box.answer = hold
    await clinic.look()
    await clinic.due_now()
    async with worker(clinic) as process:
        await asyncio.wait_for(reached.wait(), 60)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    stay.set()
    clinic.box.answer = None
    await taken_up(clinic)
    assert len(clinic.box.taken) == 2
    assert len(clinic.box.ids) == 1
    assert await clinic.told() == [("sent", None, 2)]


async def test_two_jobs_of_one_reminder_send_once(clinic: Clinic) -> None:
    """A second job, whyever, finds the first one's attempt under way, or ended."""
    clinic.visit()
    await clinic.look()
    (row,) = await clinic.run("select id from reminder where tenant_id = :t")
    for _ in range(5):
        await clinic.defer(SEND, reminder_id=str(row.id))
    await clinic.due_now()
    await clinic.work()
    await clinic.due_now()
    await clinic.work()
    assert len(clinic.box.taken) == 1
    assert await clinic.told() == [("sent", None, 1)]


async def test_a_worker_of_its_own_reminds(clinic: Clinic) -> None:
    clinic.visit()
    await clinic.look()
    await clinic.due_now()
    async with worker(clinic):
        await until(clinic, "sent")
    assert len(clinic.box.taken) == 1
