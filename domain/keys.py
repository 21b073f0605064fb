"""Small tables that commands of every subject use: counters, idempotency keys, sources of imported rows, data keys."""

import datetime as dt
import uuid
from typing import Protocol

from sqlalchemy import BigInteger, ForeignKeyConstraint, LargeBinary, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.errors import Invalid
from domain.model import Base

KEPT = dt.timedelta(hours=24)
"""How long an idempotency key is remembered at least; `forget` sweeps older ones."""
KEY_LENGTH = 200


class Counter(Base):
    """The last number given out of a gapless series of the tenant (`mrn`, `invoice`)."""

    __tablename__ = "counter"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, server_default="0")


class IdempotencyKey(Base):
    """A mutation that was carried out: the same key again answers its result, another input is refused."""

    __tablename__ = "idempotency"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
    )

    person_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    input_hash: Mapped[bytes] = mapped_column(LargeBinary)
    result_id: Mapped[uuid.UUID]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class ExternalReference(Base):
    """Which local row an imported resource became, so that a second import changes nothing."""

    __tablename__ = "external_reference"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    source: Mapped[str] = mapped_column(primary_key=True)
    resource_type: Mapped[str] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    local_id: Mapped[uuid.UUID]


class DataKey(Base):
    """The key that seals one table's columns, wrapped by the tenant's key at the key provider."""

    __tablename__ = "data_key"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    purpose: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class KeyReused(Invalid):
    """The idempotency key was used with another input."""

    def __init__(self) -> None:
        super().__init__(
            "This key was used with another input.",
            path=("idempotencyKey",),
            code="IDEMPOTENCY_KEY_REUSED",
        )


class Sealer(Protocol):
    """Seals what must not lie readable in the database, with the keys of one tenant.

    `column` is `table.column`; together with the row's id it is bound into the sealed value, so that a value
    moved to another row does not open. `index` makes equal values findable without opening any.
    """

    def seal(self, column: str, row_id: uuid.UUID, value: bytes, /) -> bytes: ...
    def index(self, value: bytes, /) -> bytes: ...


def check_key(key: str) -> None:
    """Raises Invalid for an idempotency key that cannot be kept as it is."""
    if not (1 <= len(key) <= KEY_LENGTH and key.isprintable()):
        message = f"A key has 1 to {KEY_LENGTH} printable characters."
        raise Invalid(message, path=("idempotencyKey",))


async def claim(
    session: AsyncSession,
    agent: Agent,
    operation: str,
    key: str,
    input_hash: bytes,
    result_id: uuid.UUID,
) -> uuid.UUID | None:
    """Keep the key for a mutation that is about to make `result_id`; answers the earlier result on a replay.

    None: the key is ours, carry on. An id: this very input was carried out before, answer that row again.
    Raises KeyReused (IDEMPOTENCY_KEY_REUSED) when the key came with another input before. A second request with
    the same key waits until the first has committed or failed.
    """
    if agent.person_id is None:
        raise Invalid("Only a person's request has an idempotency key.", path=("idempotencyKey",))
    check_key(key)
    taken = await session.scalar(
        insert(IdempotencyKey)
        .values(
            tenant_id=agent.tenant_id,
            person_id=agent.person_id,
            operation=operation,
            key=key,
            input_hash=input_hash,
            result_id=result_id,
            created_at=agent.now,
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "person_id", "operation", "key"])
        .returning(IdempotencyKey.result_id)
    )
    if taken is not None:
        return None
    earlier = (
        await session.execute(
            select(IdempotencyKey.input_hash, IdempotencyKey.result_id).where(
                IdempotencyKey.tenant_id == agent.tenant_id,
                IdempotencyKey.person_id == agent.person_id,
                IdempotencyKey.operation == operation,
                IdempotencyKey.key == key,
            )
        )
    ).one()
    if earlier.input_hash != input_hash:
        raise KeyReused()
    result: uuid.UUID = earlier.result_id
    return result


async def claim_for(
    session: AsyncSession,
    agent: Agent,
    operation: str,
    key: str,
    input_hash: bytes,
    result_id: uuid.UUID,
) -> None:
    """Let a key that this transaction has claimed answer another row: a mutation changed one instead of making it.

    Rows of keys are never updated; whoever waits for this one finds the new.
    """
    await session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.tenant_id == agent.tenant_id,
            IdempotencyKey.person_id == agent.person_id,
            IdempotencyKey.operation == operation,
            IdempotencyKey.key == key,
        ),
        execution_options={"synchronize_session": False},
    )
    await claim(session, agent, operation, key, input_hash, result_id)


async def forget(session: AsyncSession, agent: Agent) -> None:
    """Delete the tenant's idempotency keys that are older than 24 hours."""
    await session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.tenant_id == agent.tenant_id,
            IdempotencyKey.created_at < agent.now - KEPT,
        ),
        execution_options={"synchronize_session": False},
    )


async def next_number(session: AsyncSession, agent: Agent, series: str) -> int:
    """The next number of the tenant's series, from 1, without gaps: a rolled back one is given out again.

    Whoever took a number keeps the series locked until the end of the transaction.
    """
    return (await next_numbers(session, agent, series, 1))[0]


async def next_numbers(session: AsyncSession, agent: Agent, series: str, count: int) -> range:
    """As `next_number`, so many in a row."""
    first = insert(Counter).values(tenant_id=agent.tenant_id, name=series, value=count)
    last = await session.scalar(
        first.on_conflict_do_update(
            index_elements=["tenant_id", "name"], set_={"value": Counter.value + count}
        ).returning(Counter.value)
    )
    if last is None:
        raise LookupError("the series gave no number")
    return range(last - count + 1, last + 1)
