"""`caretree dev bench`: measure on the stack's own PostgreSQL, or on the one at DATABASE_URL."""

import os

from dev.bench.report import missed, result, table, write
from dev.bench.run import Effort, measure
from dev.databases import kept_passwords
from dev.faults import Fault
from dev.servers import Stack, root

PATIENTS = 500_000
LEAST = 30_000


def command(patients: int | None = None, *, effort: Effort | None = None) -> int:
    """Measure with so many patients (by default PATIENTS of the environment, else 500,000).

    Prints a table, writes `bench.json` into the stack's folder; 1 where a bar was missed. Raises Fault.
    """
    wanted = patients or _from_environment()
    if wanted < LEAST:
        raise Fault(f"The benchmark needs {LEAST:,} patients: set PATIENTS to that or more.")
    stack = Stack(root())
    was_running = stack.postgres.pid() is not None
    say(f"PostgreSQL: {stack.start_postgres()}")
    try:
        passwords = kept_passwords(stack.state)
        found = measure(
            stack.database_url,
            stack.folder.root,
            wanted,
            say,
            passwords=passwords,
            effort=effort,
        )
    except AssertionError as differ:
        raise Fault(f"The contestants do not answer the same: {differ}") from None
    except TimeoutError as late:
        raise Fault(f"{late}, in {stack.folder.root}.") from None
    finally:
        if not was_running:
            stack.stop([stack.postgres.name])
    measured = result(found)
    print(f"\n{table(measured)}\n\n{write(measured, stack.folder.root)}", flush=True)
    short = missed(measured)
    for sentence in short:
        print(f"MISSED: {sentence}.", flush=True)
    return 1 if short else 0


def say(words: str) -> None:
    """A line of progress."""
    print(f"  {words}", flush=True)


def _from_environment() -> int:
    text = os.environ.get("PATIENTS") or str(PATIENTS)
    try:
        return int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise Fault(f"PATIENTS is {text!r}: set it to a number, as 50000.") from None
