"""What is measured on: a small health system of its own, tokens of its people, and two servers of the API."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psycopg

from dev.bench.data import KIND, uid
from dev.bench.issuer import REALM, Issuer, issuing
from dev.databases import DatabaseUrls
from dev.ports import choose
from migrations import run

TENANT, CLINIC = uid(KIND["tenant"], 1), uid(KIND["clinic"], 1)
SERVERS = 2
READY = 60.0
"""Seconds in which a server has to answer."""

SYSTEM = """
insert into tenant (tenant_id, slug, name) values ({t}, 'live', 'Live');
insert into org_unit (tenant_id, id, level, name) values ({t}, {root}, 'system', 'Live')
"""
WORLD = """
insert into org_unit (tenant_id, id, parent_id, clinic_id, level, name, zone)
    values ({t}, {clinic}, {root}, {clinic}, 'clinic', 'Oak', 'Europe/Berlin');
insert into practitioner (tenant_id, id, given_name, family_name) values ({t}, {doctor}, 'Dana', 'Doctor');
insert into patient (tenant_id, id, mrn, family_name, given_name, family_key, given_key, birth_date)
    values ({t}, {patient}, 'L1', 'Roe', 'Kim', 'roe', 'kim', '1980-01-01');
insert into patient_site (tenant_id, unit_id, patient_id, clinic_id, family_key, given_key, birth_date)
    values ({t}, {clinic}, {patient}, {clinic}, 'roe', 'kim', '1980-01-01');
insert into appointment (tenant_id, id, clinic_id, unit_id, patient_id, practitioner_id, state, starts_at, ends_at)
    values ({t}, {visit}, {clinic}, {clinic}, {patient}, {doctor}, 'booked', '2035-01-01 08:00+00', '2035-01-01 08:30+00');
insert into identity_provider (tenant_id, id, protocol, vendor, name, state, issuer, endpoints, client_id,
    client_secret_sealed, attributes, creates)
    values ({t}, {clinic}, 'oidc', 'generic', 'Corp', 'active', 'https://corp.example', '{{}}', 'c', 's', '{{}}', false)
"""
PEOPLE = """
insert into person (tenant_id, id, subject, user_name, given_name, family_name)
    select {t}, p.id::uuid, p.subject, p.subject, 'Robin', 'Load' from unnest(%s::text[], %s::text[]) p(id, subject)
"""
GRANTS = """
insert into role_grant (tenant_id, id, person_id, role, unit_id, valid_from)
    select {t}, gen_random_uuid(), p.id, 'front_desk', {clinic}, '2026-01-01' from person p
    where p.tenant_id = {t} and p.id::text = any(%s)
"""
VISIT = uid(KIND["visit"], 1)


@dataclass
class Stage:
    """`ports`: where the servers listen. `people`: ids, which are their subjects too."""

    urls: DatabaseUrls
    issuer: Issuer
    ports: list[int]
    people: list[uuid.UUID]
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def login(self, person: uuid.UUID) -> tuple[str, str]:
        """A new session of a person and its token."""
        sid = f"live-{next(self.numbers)}"
        # A cut reaches to the end of its second: who logs in next is known by the second after.
        return sid, self.issuer.access(str(person), sid, at=int(time.time()) + 3)


@contextmanager
def staged(urls: DatabaseUrls, folder: Path, people: int) -> Iterator[Stage]:
    """Make the health system anew, with so many people at the desk of its clinic, and serve it twice."""
    run.upgrade(urls.owner)
    ids = [uid(KIND["person"], n + 1) for n in range(people)]
    root = uid(KIND["unit"], 1)
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        owner.execute("truncate tenant cascade")
        owner.execute(SYSTEM.format(**named(TENANT, root)).encode())
        furnish(owner, TENANT, root, {one: str(one) for one in ids})
    with issuing() as issuer, ExitStack() as servers:
        issuer.enter(urls.owner)
        ports = [servers.enter_context(served(urls, folder, n))[0] for n in range(SERVERS)]
        stage = Stage(urls, issuer, ports, ids)
        for port in ports:
            wait_for(port)
        yield stage


def named(tenant: uuid.UUID, root: uuid.UUID) -> dict[str, str]:
    """The ids of what there is, as PostgreSQL reads them."""
    ids = {
        "t": tenant,
        "root": root,
        "clinic": CLINIC,
        "doctor": uid(KIND["practitioner"], 1),
        "patient": uid(KIND["patient"], 1),
        "visit": VISIT,
    }
    return {name: f"'{value}'::uuid" for name, value in ids.items()}


def furnish(
    owner: psycopg.Connection, tenant: uuid.UUID, root: uuid.UUID, people: dict[uuid.UUID, str]
) -> None:
    """A clinic below the root with a visit, and these people (their subjects) at its desk."""
    ids = named(tenant, root)
    listed = [str(one) for one in people]
    owner.execute(WORLD.format(**ids).encode())
    owner.execute(PEOPLE.format(**ids).encode(), [listed, list(people.values())])
    owner.execute(GRANTS.format(**ids).encode(), [listed])
    owner.execute("analyze")


@contextmanager
def served(urls: DatabaseUrls, folder: Path, number: int) -> Iterator[tuple[int, int]]:
    """A server as `caretree serve` starts it; its port and its process."""
    port = choose()
    settings = {
        "CARETREE_DATABASE_URL": urls.app,
        "CARETREE_KEY_FILE": str(folder / "live-keys"),
    }
    with running(folder / f"live-{number}.log", settings, "serve", "--port", str(port)) as pid:
        yield port, pid


@contextmanager
def running(log_file: Path, settings: dict[str, str], *command: str) -> Iterator[int]:
    """A process of the product with these settings alone; its id."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CARETREE_")}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", *command],
            env=kept | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(port: int) -> None:
    """Raises TimeoutError where a server does not get ready."""
    until = time.monotonic() + READY
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"The server at {port} did not get ready; see live-*.log")


def logout_address() -> str:
    """Where the realm announces logouts."""
    return f"/backchannel-logout/{REALM}"


def body(query: str) -> bytes:
    """A request about the clinic."""
    variables = {"clinic": f"OrgUnit:{CLINIC}"}
    return orjson.dumps({"query": query, "variables": variables})
