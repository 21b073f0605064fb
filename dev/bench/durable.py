"""Commits that reach the disk: the stack's server does without, for its data can be made again; patients' cannot."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from dev.databases import Admin

SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
PATIENCE = 5.0  # seconds for the server to read its settings again


@contextmanager
def durable(admin_url: str) -> Iterator[dict[str, str]]:
    """Make the server write as it does in production, and put its settings back afterwards.

    Gives the settings that then hold: one that this administrator may not change stays as it is.
    """
    with psycopg.connect(admin_url, autocommit=True) as admin:
        before = settings(admin)
        wanted = {name: "on" for name in SETTINGS if before[name] != "on"}
        held = change(admin, wanted)
        try:
            yield held
        finally:
            change(admin, {name: before[name] for name in wanted})


def settings(admin: Admin) -> dict[str, str]:
    """The values that hold now, by name."""
    rows = admin.execute(
        "select name, setting from pg_settings where name = any(%s)", [list(SETTINGS)]
    )
    return {str(name): str(value) for name, value in rows}


def change(admin: Admin, wanted: Mapping[str, str]) -> dict[str, str]:
    """Change settings of the server if this administrator may; those that hold then."""
    try:
        for name, value in wanted.items():
            admin.execute(f"alter system set {name} = {value}".encode())
        admin.execute("select pg_reload_conf()")
    except psycopg.errors.InsufficientPrivilege:
        return settings(admin)
    until = time.monotonic() + PATIENCE
    while not wanted.items() <= (held := settings(admin)).items() and time.monotonic() < until:
        time.sleep(0.05)
    return held
