"""What the door of directories asks the cell in one round trip, without a transaction that is held open.

On connections of its own (`Pipeline`): a large page of a directory keeps no clinic waiting.
"""

import datetime as dt
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, Self

import orjson
from scim2_models import InvalidValueException
from sqlalchemy import BindParameter, Select, Uuid, bindparam, func, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from domain.pipeline import Pipeline, Statement
from identity.scim.refusals import refused

Ask = Callable[..., Awaitable[list[Sequence[Any]]]]
"""Runs statements, answers the rows of each; rows have attributes of the columns' names."""
_kept: OrderedDict[Any, Any] = OrderedDict()
KEPT = 300
"""So many compiled statements a process keeps."""
NO_TEXT = "A value has a character that no text has."
TENANT: BindParameter[uuid.UUID] = bindparam("tenant_id", type_=Uuid())
"""The health system in what is compiled once."""
_DIALECT = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # SQLAlchemy does not type it


class Unit:
    """The cell as one health system's directory may ask it."""

    def __init__(self, pipeline: Pipeline, tenant_id: uuid.UUID) -> None:
        self.pipeline = pipeline
        self.tenant_id = tenant_id

    async def rows(self, *wanted: Select[Any]) -> list[Sequence[Any]]:
        """The rows of each statement: ids and instants are text, as JSON has them. Raises DatabaseError."""
        statements = [_statement(statement) for statement in wanted]
        return await self.told(*statements)

    async def told(self, *statements: Statement) -> list[Sequence[Any]]:
        """As `rows`, of statements whose rows are JSON. Raises DatabaseError."""
        answers = await self.run(*statements)
        return [
            [SimpleNamespace(**orjson.loads(row[0] or b"{}")) for row in rows] for rows in answers
        ]

    async def run(self, *statements: Statement) -> list[list[tuple[bytes | None, ...]]]:
        """The rows of each statement, as PostgreSQL writes them. Raises DatabaseError."""
        settings = (("app.tenant", str(self.tenant_id)),)
        return await self.pipeline.unit(settings, *statements)


class Prepared:
    """A question of which only values change: compiled once, its parameters by name or by what they are at first."""

    def __init__(self, question: Select[Any]) -> None:
        compiled = question.compile(dialect=_DIALECT)
        self._sql, own = str(compiled), compiled.params
        self._own = [(name, own[name]) for name in compiled.positiontup or ()]

    @classmethod
    def rows(cls, question: Select[Any]) -> Self:
        """A question whose rows `Unit.told` reads."""
        return cls(_as_json(question))

    def asked(self, **values: Any) -> Statement:
        """The statement with these values. Raises InvalidValueException for text that cannot be kept."""
        said = [values.get(name, values.get(at_first, at_first)) for name, at_first in self._own]
        return Statement(self._sql, list(map(encoded, said)))


def by_session(session: AsyncSession) -> Ask:
    """As `Unit.rows`, within a transaction."""

    async def rows(*wanted: Select[Any]) -> list[Sequence[Any]]:
        return [(await session.execute(statement)).all() for statement in wanted]

    return rows


def _as_json(wanted: Select[Any]) -> Select[Any]:
    """Rows as JSON: what is in a document needs no reading by column."""
    rows = wanted.subquery("r")
    return select(func.row_to_json(literal_column("r"))).select_from(rows)


def _statement(wanted: Select[Any]) -> Statement:
    told = _as_json(wanted)
    key = told._generate_cache_key()  # as SQLAlchemy's engines keep what they have compiled
    assert key is not None
    compiled = _kept.get(key.key)
    if compiled is None:
        compiled = told.compile(dialect=_DIALECT, cache_key=key)
        assert not compiled.post_compile_params, "a list of values is an array"
        _kept[key.key] = compiled
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    values = compiled.construct_params(extracted_parameters=key.bindparams)
    return Statement(str(compiled), [encoded(values[name]) for name in compiled.positiontup or ()])


def encoded(value: Any) -> bytes | None:
    """A parameter in PostgreSQL's text form. Raises InvalidValueException for text that it cannot keep."""
    if value is None:
        return None
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, dt.datetime):
        return value.isoformat().encode()
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    if isinstance(value, list | tuple):
        return b"{" + ",".join(map(str, value)).encode() + b"}"
    try:
        text = str(value).encode()
    except UnicodeEncodeError:
        raise refused(InvalidValueException, NO_TEXT) from None
    if b"\0" in text:
        raise refused(InvalidValueException, NO_TEXT)
    return text
