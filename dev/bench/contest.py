"""Starting a contestant, asking it, loading it: what one figure is made of."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import psutil
import psycopg

from dev.bench.data import Say
from dev.bench.issuer import Issuer
from dev.bench.operations import MEASURED, requests
from dev.databases import DatabaseUrls
from dev.ports import choose

CONTESTANTS = ("bare", "fair", "product")
CONNECTIONS = 16
WITHIN = 20  # clinics that the measured requests go to: those of the person "twenty"
CLINICS = 500
BODIES = 4000


@dataclass(frozen=True)
class Ground:
    """A filled database and the people who ask it."""

    urls: DatabaseUrls
    admin_url: str = field(repr=False)
    clinics: int
    patients: int
    issuer: Issuer
    folder: Path


@dataclass
class Run:
    """What one load gave: requests a second, milliseconds, microseconds of CPU a request."""

    rate: float
    p50: float
    p99: float
    server_us: float
    database_us: float
    bad: int


@dataclass
class Contestant:
    """A running server process."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    runs: dict[str, list[Run]] = field(default_factory=dict)


def environment(ground: Ground, name: str, port: int) -> dict[str, str]:
    """The settings of a server process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CARETREE_")}
    return {
        **kept,
        "BENCH_CONTESTANT": name,
        "BENCH_LIMIT": name,
        "BENCH_PORT": str(port),
        # Row-level security is one of the things that the bare limit does without.
        "CARETREE_DATABASE_URL": ground.urls.owner if name == "bare" else ground.urls.app,
        "CARETREE_KEY_FILE": str(ground.folder / "bench-keys"),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def served(ground: Ground, name: str) -> Iterator[Contestant]:
    """Start a contestant and wait until it answers; end it afterwards."""
    port = choose()
    log = (ground.folder / f"bench-{name}.log").open("wb")
    command = [sys.executable, "-m", "uvicorn", "dev.bench.serve:application", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"]
    command += ["--http", "httptools", "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(
        command, env=environment(ground, name, port), stdout=log, stderr=log, start_new_session=True
    )
    contestant = Contestant(name, port, process)
    try:
        wait_for(contestant, ground)
        yield contestant
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def wait_for(contestant: Contestant, ground: Ground) -> None:
    """Raises TimeoutError when the contestant does not answer within 30 s."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            ask(
                contestant,
                ground,
                next(requests("Point", ground.clinics, ground.patients, 1, WITHIN)),
            )
        except OSError:
            if contestant.process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{contestant.name} did not start; see bench-{contestant.name}.log")


def ask(contestant: Contestant, ground: Ground, body: dict[str, Any], who: str = "twenty") -> Any:
    """One request; its JSON without extensions."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{contestant.port}/graphql",
        orjson.dumps(body),
        {
            "content-type": "application/json",
            "accept": "application/json",
            "authorization": f"Bearer {ground.issuer.token(who)}",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        read = json.loads(answer.read())
    read.pop("extensions", None)
    return read


def same(contestants: list[Contestant], ground: Ground, say: Say) -> None:
    """Raises AssertionError unless all contestants answer the same to the same requests."""
    for operation in MEASURED:
        drawn = requests(operation, ground.clinics, ground.patients, 7, WITHIN)
        for body in islice(drawn, 10):
            answers = []
            for contestant in contestants:
                answers.append(plain(ask(contestant, ground, body)))
                clear_bookings(ground)
            for contestant, answer in zip(contestants, answers, strict=True):
                if answer != answers[0]:
                    raise AssertionError(
                        f"{contestant.name} answers {operation} differently:\n"
                        f"{json.dumps(answer)[:600]}\n{json.dumps(answers[0])[:600]}"
                    )
    say(f"all {len(contestants)} answer the same")


def plain(answer: Any) -> Any:
    """An answer without the id that each booking draws anew."""
    booked = (answer.get("data") or {}).get("bookAppointment")
    if booked and booked["appointment"]:
        booked["appointment"].pop("id")
    return answer


def clear_bookings(ground: Ground) -> None:
    """Take away what was booked during the run."""
    with psycopg.connect(ground.admin_url, autocommit=True) as admin:
        admin.execute("truncate idempotency, audit_event")
        admin.execute("delete from appointment_block where upper(block) < '2034-01-01'")
        # As a replica the server does not look for visits that came of them; there are none.
        admin.execute("set session_replication_role = replica")
        admin.execute("delete from appointment where starts_at < '2034-01-01'")
        admin.execute("vacuum appointment, appointment_block")


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """User and system time of the processes that are still there."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def database_processes(urls: DatabaseUrls) -> list[psutil.Process]:
    """The server processes that serve this database."""
    name = urls.app.rpartition("/")[2].partition("?")[0]
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if words.startswith("postgres: ") and f" {name} " in words:
            found.append(process)
    return found


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def load(
    contestant: Contestant,
    ground: Ground,
    operation: str,
    seconds: float,
    seed: int,
    who: str = "twenty",
    within: int = WITHIN,
) -> Run:
    """Load one contestant with one operation."""
    order = {
        "port": contestant.port,
        "token": ground.issuer.token(who),
        "operation": operation,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "clinics": ground.clinics,
        "patients": ground.patients,
        "within": within,
        "seed": seed,
        "bodies": BODIES if operation != "Book" else 40_000,
    }
    server, database = tree(contestant.process.pid), database_processes(ground.urls)
    before = cpu_seconds(server), cpu_seconds(database)
    done = subprocess.run(
        [sys.executable, "-m", "dev.bench.load", json.dumps(order)],
        capture_output=True,
        check=True,
    )
    after = cpu_seconds(server), cpu_seconds(database)
    saw = json.loads(done.stdout)
    per = 1e6 / max(1, saw["requests"])
    return Run(
        rate=saw["requests"] / saw["seconds"],
        p50=saw["p50"],
        p99=saw["p99"],
        server_us=(after[0] - before[0]) * per,
        database_us=(after[1] - before[1]) * per,
        bad=saw["bad"],
    )
