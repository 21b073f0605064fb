"""A run with real servers and small children, for the tests of the supervisor: `small_run.py ROOT CHILD_SCRIPT`."""

import asyncio
import os
import sys
from pathlib import Path

from dev.screen import Screen
from dev.servers import Stack
from dev.steps import Step
from dev.up import Plan, Supervisor

READY = "all is ready"


def plan(stack: Stack) -> Plan:
    """PostgreSQL and Valkey, then a child that talks and one that does as it was told."""

    async def ready() -> bool:
        return True

    def child(script: str) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-u", "-c", script, str(stack.folder.root)], dict(os.environ)

    return Plan(
        steps=[
            Step("PostgreSQL", lambda _: stack.start_postgres()),
            Step("Valkey", lambda _: stack.start_valkey(), ("PostgreSQL",)),
        ],
        children=lambda: {
            "talker": child("import time\nwhile True: print('tick'); time.sleep(0.1)"),
            "other": child(sys.argv[2]),
        },
        ready=ready,
        welcome=lambda screen: screen.line(READY),
        details={},
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(Supervisor(Path(sys.argv[1]), Screen(), plan).up()))
