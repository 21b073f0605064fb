"""Starting a contestant, loading it, and watching what it takes."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil

from dev.bench.contest import cpu_seconds, database_processes, tree
from dev.bench_scim.data import SLUG
from dev.bench_scim.operations import Operation, Request, put
from dev.databases import DatabaseUrls
from dev.ports import choose

READY = 30.0
"""Seconds in which a server has to answer."""


@dataclass(frozen=True)
class Server:
    """A running server process: one worker, and the process that loads it."""

    port: int
    process: "subprocess.Popen[bytes]"
    loader: "subprocess.Popen[bytes]"


@dataclass(frozen=True)
class Figure:
    """What one operation gave: medians in milliseconds, requests a second, CPU of server and database a request."""

    value: float
    p99: float
    server_ms: float
    database_ms: float


@contextmanager
def served(urls: DatabaseUrls, folder: Path, name: str) -> Iterator[Server]:
    """Start a contestant and wait until it answers; end it afterwards. Raises TimeoutError."""
    port = choose()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CARETREE_")}
    settings = {
        **kept,
        "BENCH_CONTESTANT": name,
        "CARETREE_DATABASE_URL": urls.app,
        "CARETREE_KEY_FILE": str(folder / "bench-keys"),
    }
    command = [sys.executable, "-m", "uvicorn", "dev.bench_scim.serve:application", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"]
    command += ["--http", "httptools", "--no-access-log", "--log-level", "warning"]
    with (folder / f"bench-scim-{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=settings, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(port, process)
        loader = [sys.executable, "-m", "dev.bench_scim.load"]
        pipe = subprocess.PIPE
        with subprocess.Popen(loader, stdin=pipe, stdout=pipe) as loading:
            yield Server(port, process, loading)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Raises TimeoutError where a server does not get ready."""
    until = time.monotonic() + READY
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/{SLUG}/scim/v2/Users", timeout=5)
        except urllib.error.HTTPError:
            return  # without a token nobody is let in
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("The server did not get ready; see bench-scim-*.log")


def one(
    urls: DatabaseUrls, server: Server, operation: Operation, few: list[Request] | None = None
) -> Figure:
    """Carry out the requests of an operation, after some that do not count; or only a few. Raises AssertionError."""
    requests = few or operation.requests
    if operation.warm and few is None:
        sent(server, operation.requests[: operation.warm], 1)
    processes = tree(server.process.pid), database_processes(urls)
    before = [cpu_seconds(p) for p in processes]
    saw = sent(server, requests, operation.connections)
    after = [cpu_seconds(p) for p in processes]
    took = [(b - a) * 1e3 / saw["requests"] for a, b in zip(before, after, strict=True)]
    value = saw["p50"] if operation.unit == "ms" else saw["requests"] / saw["seconds"]
    return Figure(value, saw["p99"], took[0], took[1])


def sent(server: Server, requests: list[Request], connections: int) -> dict[str, Any]:
    """What the load saw. Raises AssertionError where an answer is none that was wanted."""
    order = {"port": server.port, "connections": connections, "requests": requests}
    assert server.loader.stdin is not None
    assert server.loader.stdout is not None
    server.loader.stdin.write(orjson.dumps(order) + b"\n")
    server.loader.stdin.flush()
    saw: dict[str, Any] = orjson.loads(server.loader.stdout.readline())
    if saw["bad"] or saw["requests"] != len(requests):
        raise AssertionError(
            f"{saw['bad']} of {len(requests)} answers are errors: {requests[0][:2]}"
        )
    return saw


def grown(server: Server, members: int, times: int) -> float:
    """MiB by which the process grows while a group of so many members is replaced, at its peak."""
    process, most, done = psutil.Process(server.process.pid), 0, threading.Event()
    sent(server, [("GET", "/Groups?count=1&excludedAttributes=members", None)], 1)
    before = process.memory_info().rss

    def look() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, process.memory_info().rss)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        sent(server, [put(members, n) for n in range(times)], 1)
    finally:
        done.set()
        watching.join()
    return float(max(0, most - before) / 2**20)
