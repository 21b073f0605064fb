"""Engines for PostgreSQL over asyncio, and what its refusals mean.

PostgreSQL's messages quote rows ("Key (mrn)=(…) already exists"), so an engine of ours replaces them by the SQLSTATE
and the name of the constraint before anybody can log them. A subject says which of its errors a constraint stands
for by `constraints` on the error's class:

    class SlotTaken(DomainError):
        code = "SLOT_TAKEN"
        constraints = ("ex_appointment_block_slot",)
"""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from domain.errors import DomainError
from domain.pipeline_errors import DatabaseError

_SHARD = re.compile(r"_[0-9]+$")

# What a refusal means where no subject gave its constraint a meaning, by the class or code of its SQLSTATE
# (PostgreSQL manual, appendix A).
CODES = {
    "23505": "CONFLICT",
    "23P01": "CONFLICT",
    "23503": "NOT_FOUND",
    "23514": "INVALID",
    "23502": "INVALID",
    "22": "INVALID",
    "40": "TRY_AGAIN",
    "55P03": "TRY_AGAIN",
    "57014": "TRY_AGAIN",
    "53": "UNAVAILABLE",
    "57P": "UNAVAILABLE",
    "08": "UNAVAILABLE",
    "42501": "FORBIDDEN",
}


def engine(url: str, *, application: str, size: int = 5, overflow: int = 5) -> AsyncEngine:
    """An engine whose errors carry no value of any row. `url` is PostgreSQL's; whatever driver it names.

    At most `size + overflow` connections; `application` is what the server's own views call them.
    """
    made = create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=size,
        max_overflow=overflow,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"application_name": application},
    )
    event.listen(made.sync_engine, "handle_error", _without_values)
    return made


async def set_tenant(into: AsyncConnection | AsyncSession, tenant_id: uuid.UUID) -> None:
    """Let row-level security show this health system until the transaction's end."""
    await into.execute(text("select set_config('app.tenant', :t, true)"), {"t": str(tenant_id)})


def constraint_of(error: BaseException) -> str | None:
    """The name of the constraint that was violated, as the migrations gave it.

    Takes errors of psycopg, of SQLAlchemy and of the unit driver. A sharded server adds a number to the names of
    its parts, which is taken off.
    """
    name = _field(error, "constraint_name")
    return _SHARD.sub("", name) if name else None


def sqlstate_of(error: BaseException) -> str | None:
    """The five characters that say what kind of refusal it was."""
    if isinstance(error, DatabaseError):
        return error.sqlstate or None
    found = getattr(_driver_error(error), "sqlstate", None)
    return found if isinstance(found, str) else None


def code_of(error: BaseException) -> str | None:
    """The stable code of a refusal: its subject's for the constraint, else by its SQLSTATE. None: a fault of ours."""
    name = constraint_of(error)
    for subject in _refusals():
        if name is not None and name in getattr(subject, "constraints", ()):
            return subject.code
    state = sqlstate_of(error) or ""
    return next((CODES[state[:n]] for n in (5, 3, 2) if state[:n] in CODES), None)


def refusal_of(error: BaseException) -> DomainError | None:
    """The subject's own error for the violated constraint; None where no subject has one."""
    name = constraint_of(error)
    for subject in _refusals():
        if name is not None and name in getattr(subject, "constraints", ()):
            build: Any = subject
            made: DomainError = build()
            return made
    return None


def _refusals(of: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    for subject in of.__subclasses__():
        yield subject
        yield from _refusals(subject)


def _driver_error(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig else error


def _field(error: BaseException, name: str) -> str | None:
    if isinstance(error, DatabaseError):
        return error.constraint
    found = getattr(getattr(_driver_error(error), "diag", None), name, None)
    return found if isinstance(found, str) else None


def _without_values(context: ExceptionContext) -> None:
    """Take the server's text, which can quote a row, out of the error and of the one that wraps it."""
    original = context.original_exception
    if not isinstance(original, psycopg.Error) or original.sqlstate is None:
        return
    rule = original.diag.constraint_name
    safe = f"SQLSTATE {original.sqlstate}" + (f", constraint {rule}" if rule else "")
    original.args = (safe,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"{type(original).__name__}: {safe}",)
