"""Locks that commands hold until the end of their transaction, where no row may be locked for them.

Locking a row asks for the right to update it, which the asker often has not. Two things may share a lock by
chance (64 bits of hash): then one waits for the other, nothing else.
"""

from sqlalchemy import ColumnElement, Text, cast, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

NO_SEED: ColumnElement[int] = literal_column("0")


def key(kind: str, *parts: object) -> str:
    """The name of a lock: what it is about, and the ids of whose."""
    return ":".join((kind, *map(str, parts)))


async def hold(session: AsyncSession, kind: str, *parts: object, shared: bool = False) -> None:
    """Wait for the lock and keep it; many may share it, one alone has it otherwise.

    Ask for it before reading what it protects: a statement sees what was committed when it began.
    """
    number = func.hashtextextended(cast(key(kind, *parts), Text), NO_SEED)
    lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    await session.execute(select(lock(number)))


def holding(kind: str, *parts: ColumnElement[object]) -> ColumnElement[object]:
    """As `hold`, exclusive, as a part of a larger statement. The parts must not be null."""
    name: ColumnElement[str] = cast(literal_column(f"'{kind}'"), Text)
    for part in parts:
        name = name + literal_column("':'") + cast(part, Text)
    return func.pg_advisory_xact_lock(func.hashtextextended(name, NO_SEED))
