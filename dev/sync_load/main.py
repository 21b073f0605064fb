"""`caretree dev load-scim`: two directories synchronize two health systems at once, against a served product."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil
import psycopg

from dev.bench.contest import cpu_seconds, database_processes, tree
from dev.bench.data import KIND, uid
from dev.databases import DatabaseUrls, draw_passwords, prepare
from dev.ports import choose
from dev.servers import Stack, root
from dev.sync_load.clients import Entra, Okta
from dev.sync_load.trial import System, group_of, synchronize, verify
from migrations import run

USERS, GROUPS, RATE, WORKERS = 1_000, 50, 25.0, 2
NAMES = ("north", "south")
ROLES = ("nurse", "front_desk", "provider", "biller")
READY = 180.0
PACE = 0.9
"""So much of the rate is reached where only the client's own order keeps it from more: one request waits for another."""

SEED = """
insert into tenant (tenant_id, slug, name) values ({t}, '{name}', '{name}');
insert into org_unit (tenant_id, id, level, name) values ({t}, {root}, 'system', '{name}');
insert into person (tenant_id, id, user_name, given_name, family_name, active)
    values ({t}, {admin}, 'admin', 'Ada', 'Admin', true);
insert into role_grant (tenant_id, id, person_id, role, unit_id, valid_from)
    values ({t}, gen_random_uuid(), {admin}, 'system_admin', {root}, now() - interval '1 day');
insert into role_mapping (tenant_id, id, source, attribute, match, value, role, unit_id, created_by)
    select {t}, gen_random_uuid(), 'scim', 'groups', 'exact', 'Ward ' || n, (array{roles})[1 + n % {kinds}], {root}, {admin}
        from generate_series(0, {groups} - 1) n;
insert into scim_token (tenant_id, id, token_hash, name, scopes, expires_at) values
    ({t}, gen_random_uuid(), '\\x{okta}', 'Okta', array['users', 'groups'], now() + interval '1 day'),
    ({t}, gen_random_uuid(), '\\x{entra}', 'Entra', array['users', 'groups'], now() + interval '1 day');
insert into control.tenant (id, slug, cell, region, identity_cluster_id, realm, issuer, state)
    values ({t}, '{name}', 'default', 'local', {cluster}, 'oload{name}00000', 'http://127.0.0.1:9/{name}', 'active')"""
CLUSTER = """
delete from control.service_account; delete from control.tenant; delete from control.identity_cluster;
insert into control.identity_cluster (id, name, region, url, public_url)
    values ({cluster}, 'load', 'local', 'http://127.0.0.1:9', 'http://127.0.0.1:9')"""
ROLES_OF = """
select s.user_name, array_agg(distinct g.role) filter (where g.role is not null)
    from scim_user s left join role_grant g on g.tenant_id = s.tenant_id and g.person_id = s.id
        and g.source = 'scim' and (g.valid_until is null or g.valid_until > now())
    where s.tenant_id = %s group by s.user_name"""


@dataclass(frozen=True)
class Size:
    """How much is synchronized at each health system, and how fast each directory asks."""

    users: int = USERS
    groups: int = GROUPS
    rate: float = RATE


def command(size: Size) -> int:
    """Synchronize against the stack's own servers; 1 where anything went wrong or is not as it was meant."""
    stack = Stack(root())
    was_running = stack.postgres.pid() is not None, stack.valkey.pid() is not None
    say(f"PostgreSQL: {stack.start_postgres()}; Valkey: {stack.start_valkey()}")
    try:
        passwords = stack.state.drawn("database", "passwords", draw=draw_passwords)
        urls = prepare(stack.database_url, "caretree_load_scim", passwords)
        _seed(urls, size)
        with _served(urls, stack) as (port, server):
            wrong = asyncio.run(_trial(urls, port, server, size))
    finally:
        names = (stack.postgres.name, stack.valkey.name)
        stack.stop([n for n, was in zip(names, was_running, strict=True) if not was])
    for sentence in wrong[:20]:
        print(f"WRONG: {sentence}", flush=True)
    print(
        "Nothing is lost, and everybody has their roles." if not wrong else f"{len(wrong)} wrong."
    )
    return int(bool(wrong))


def say(words: str) -> None:
    """A line of progress."""
    print(f"  {words}", flush=True)


def _token(name: str, kind: str) -> str:
    return "scim_" + f"{name}{kind}".ljust(43, "x")


def _seed(urls: DatabaseUrls, size: Size) -> None:
    run.upgrade(urls.owner)
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        owner.execute("truncate tenant cascade")
        cluster = f"'{uid(KIND['tenant'], 99)}'::uuid"
        owner.execute(CLUSTER.format(cluster=cluster).encode())
        for at, name in enumerate(NAMES, 1):
            hashes = {
                kind: hashlib.sha256(_token(name, kind).encode()).hexdigest()
                for kind in ("okta", "entra")
            }
            told = SEED.format(
                t=f"'{uid(KIND['tenant'], at)}'::uuid", root=f"'{uid(KIND['unit'], at)}'::uuid",
                admin=f"'{uid(KIND['person'], at)}'::uuid", cluster=cluster, name=name,
                roles=list(ROLES), kinds=len(ROLES), groups=size.groups, **hashes,
            )  # fmt: skip
            owner.execute(told.encode())


@contextmanager
def _served(urls: DatabaseUrls, stack: Stack) -> Iterator[tuple[int, int]]:
    """The port and the first process of the product, which has some processes that share their counts."""
    port = choose()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CARETREE_")}
    settings = kept | {
        "CARETREE_DATABASE_URL": urls.app,
        "CARETREE_REDIS_URL": stack.redis_url,
        "CARETREE_KEY_FILE": str(stack.folder.root / "bench-keys"),
    }
    command = [sys.executable, "-m", "uvicorn", "api.app:from_environment", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS)]
    command += [
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "warning",
    ]
    with (stack.folder.root / "load-scim.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=settings, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(port, process)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + READY
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise TimeoutError("The product did not get ready; see load-scim.log")


def _spent(urls: DatabaseUrls, server: int) -> dict[str, float]:
    """Processor seconds so far, by who spent them: what is scarce on a machine is told whatever else it does."""
    parts = {"clients": [psutil.Process()], "servers": tree(server)}
    parts["database"] = database_processes(urls)
    return {name: cpu_seconds(processes) for name, processes in parts.items()}


async def _trial(urls: DatabaseUrls, port: int, server: int, size: Size) -> list[str]:
    """Synchronize and look; answers what is wrong, in words."""
    limits = httpx.Limits(max_connections=32)
    at = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=at, timeout=60, limits=limits) as http:
        systems = [
            System(
                name,
                Okta(http, f"/{name}/scim/v2", _token(name, "okta"), size.rate),
                Entra(http, f"/{name}/scim/v2", _token(name, "entra"), size.rate),
            )
            for name in NAMES
        ]
        began, before = time.monotonic(), _spent(urls, server)
        await synchronize(systems, size.users, size.groups, say)
        took, after = time.monotonic() - began, _spent(urls, server)
        asked = sum(client.answers.total() for system in systems for client in system.clients)
        say(f"{asked} requests in {took:.0f} s: {asked / took:.0f} a second")
        each = {name: (after[name] - before[name]) * 1e3 / asked for name in after}
        told = ", ".join(f"{name} {cost:.1f}" for name, cost in each.items())
        say(
            f"processor time of a request in ms: {told}; so {1e3 / sum(each.values()):.0f} a second a core"
        )
        for system in systems:
            for client in system.clients:
                who = f"{system.name} {type(client).__name__}"
                reached = "pass" if client.pace >= PACE * size.rate else "MISSED"
                say(f"{who}: {client.pace:.1f} a second of {size.rate:g} asked ({reached})")
        wrong = []
        for number, system in enumerate(systems, 1):
            for client in system.clients:
                wrong += [f"{system.name} {type(client).__name__}: {e}" for e in client.errors]
            await verify(system, system.okta)
            wrong += [f"{system.name}: {sentence}" for sentence in system.wrong]
            wrong += _roles(urls, system, number, size)
        return wrong


def _roles(urls: DatabaseUrls, system: System, number: int, size: Size) -> list[str]:
    """Whose roles are not those of their groups."""
    meant = system.meant()
    with psycopg.connect(urls.owner) as owner:
        rows = owner.execute(ROLES_OF, [uid(KIND["tenant"], number)]).fetchall()
    held: dict[str, list[str] | None] = dict(rows)
    out = []
    for name, want in meant.users.items():
        due = {
            ROLES[n % len(ROLES)]
            for n in range(size.groups)
            if want["active"] and name in meant.groups[group_of(n)]
        }
        if set(held.get(name) or ()) != due:
            out.append(f"{system.name}: {name} holds {held.get(name)}, not {sorted(due)}")
    return out
