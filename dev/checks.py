"""`make check`, `make test` and `make coverage`: the static checks side by side, then the tests.

`python -m dev.checks` runs what needs no server; with `--all` the whole suite, against servers of its own, which are
stopped at the end; with `--coverage` the same, measured, which doubles the processor's time.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dev.folder import CHECKOUT

BIN = Path(sys.executable).parent
WORKERS = 2
# oso pins an older cffi than the one that its own suite passes with, see pyproject.toml; nothing else may clash.
ALLOWED_CLASH = "oso 0.27.3 has requirement cffi"
PYTEST = [sys.executable, "-m", "pytest", "--quiet", "--no-header"]
WHOLE_MODULES = ["-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder"]
"""One module stays with one process, in the order of tests/conftest.py or dev/offline.py."""
COVERAGE = [sys.executable, "-m", "coverage", "report", "--skip-covered", "--show-missing"]


@dataclass(frozen=True)
class Check:
    """One command; the check passes when it ends with 0."""

    name: str
    command: Sequence[str]


STATIC = (
    Check("types", [str(BIN / "mypy"), "."]),
    Check("format", [str(BIN / "ruff"), "format", "--check", "--quiet", "."]),
    Check("lint", [str(BIN / "ruff"), "check", "--quiet", "."]),
    Check("imports", [str(BIN / "lint-imports")]),
    Check("packages", [sys.executable, "-m", "dev.checks", "--packages"]),
)
SERVERS = Check("servers", [sys.executable, "-m", "dev.checks", "--servers"])
"""Keycloak is built and started while the types are checked, which keeps one processor busy: else tests wait for it."""
GUARDS = ("authz/*", "identity/tokens.py", "identity/saml/*", "identity/direct/*")
"""What decides who somebody is and what they may do: every branch is covered."""
COVERED = Check(
    "coverage of guards", [*COVERAGE, "--fail-under=100", f"--include={','.join(GUARDS)}"]
)
REST = Check("coverage elsewhere", [*COVERAGE, "--fail-under=90", f"--omit={','.join(GUARDS)}"])
OFFLINE = Check("tests without servers", [*PYTEST, "-p", "dev.offline", *WHOLE_MODULES])
_printing = threading.Lock()


def run(check: Check) -> bool:
    """Run one check and print a line about it, with all that it said if it failed."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        status = subprocess.run(
            list(check.command),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    with _printing:
        mark = "ok    " if status == 0 else "FAILED"
        last = said.splitlines()[-1] if said and status == 0 else ""
        print(f"{mark}  {check.name:<22}{time.monotonic() - began:6.1f} s  {last}", flush=True)
        if status:
            print(f"{said}\n", flush=True)
    return status == 0


def packages() -> int:
    """`pip check`, where one clash is known and allowed."""
    said = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in said.stdout.splitlines() if line.strip()]
    clashes = [line for line in lines if ALLOWED_CLASH not in line and "No broken" not in line]
    print("\n".join(clashes) or "no clash but the known one")
    return 1 if clashes else 0


def servers() -> int:
    """Start all that the tests talk to; `whole_suite` stops it. Raises Fault."""
    from dev.servers import ensure

    ensure(keycloak=True)
    return 0


def together(checks: Sequence[Check]) -> bool:
    """Run checks side by side."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return all(list(pool.map(run, checks)))


def whole_suite(*further: str, first: Sequence[Check] = ()) -> bool:
    """Some checks, then all tests, on several processes; their servers are stopped after it."""
    command = [*PYTEST, *WHOLE_MODULES, *further]
    try:
        passed = together(first)
        return subprocess.run(command, cwd=CHECKOUT, check=False).returncode == 0 and passed
    finally:
        from dev.servers import stack_of_tests

        stack_of_tests().stop()


def main() -> int:
    """Carry out what the arguments say; 0 when everything passed."""
    if "--packages" in sys.argv:
        return packages()
    if "--servers" in sys.argv:
        return servers()
    if "--coverage" in sys.argv:
        passed = whole_suite("--cov", "--cov-report=")
        return 0 if together([COVERED, REST]) and passed else 1
    if "--all" not in sys.argv:
        return 0 if together([OFFLINE, *STATIC]) else 1
    return 0 if whole_suite(first=[STATIC[0], SERVERS, *STATIC[1:]]) else 1


if __name__ == "__main__":
    sys.exit(main())
