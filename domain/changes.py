"""What is told of a change as soon as it is committed: which row it was, on the health system's own channel.

PostgreSQL hands a NOTIFY to those who listen when its transaction commits, and to nobody when it does not. The unit of
work tells of each row that it writes of a record with `__told__`, so no command can forget to; the one booking
statement tells by `telling`, and what the database writes by a function of its own is told there.

The same way it tells, once for a transaction, that something was written of what stamps look at (`__vouches__`: people,
health systems, ended sessions): whoever holds a connection open looks at once who still stands.
See docs/decisions/subscriptions.md.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, Uuid, cast, event, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session

_WRITTEN = "domain.changes"
_VOUCHING = "domain.changes.vouching"
STANDING = "standing"
"""The subject of a change after which somebody may not stand any more; its two ids are the health system's."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row of a subject (`appointment`) that has changed, and the clinic that it lies at."""

    subject: str
    clinic_id: uuid.UUID
    id: uuid.UUID

    @classmethod
    def read(cls, payload: str) -> "Change":
        """The change that a notification names. Raises ValueError for what is none."""
        subject, clinic, row = payload.split(" ")
        return cls(subject, uuid.UUID(clinic), uuid.UUID(row))


def channel(tenant_id: uuid.UUID) -> str:
    """The channel of a health system, as the database's function `tell` names it."""
    return f"caretree:{tenant_id}"


def telling(
    subject: str,
    tenant_id: ColumnElement[Any],
    clinic_id: ColumnElement[Any],
    row_id: ColumnElement[Any],
) -> ColumnElement[Any]:
    """An expression that tells, once for each row of the statement that selects it. `subject` is a constant."""
    return func.tell(tenant_id, literal_column(f"'{subject}'"), clinic_id, row_id)


def written(session: AsyncSession, row: Any) -> None:
    """Tell of a row that a statement has written, which the unit of work does not see."""
    _keep(session.sync_session, (row,))


def unsettled(session: AsyncSession) -> None:
    """Tell that somebody may not stand any more, after a function of the database wrote what stamps look at."""
    session.sync_session.info[_VOUCHING] = True


def _keep(session: Session, rows: Iterable[Any]) -> None:
    for row in rows:
        if getattr(row, "__told__", False):
            kept = session.info.setdefault(_WRITTEN, {})
            kept[row.tenant_id, row.__resource__, row.clinic_id, row.id] = None


@event.listens_for(Session, "after_flush")
def _flushed(session: Session, _: Any) -> None:
    rows = (*session.new, *session.dirty, *session.deleted)
    _keep(session, rows)
    if any(getattr(row, "__vouches__", False) for row in rows):
        session.info[_VOUCHING] = True


@event.listens_for(Session, "do_orm_execute")
def _executing(state: ORMExecuteState) -> None:
    written = state.is_insert or state.is_update or state.is_delete
    if written and state.bind_mapper and getattr(state.bind_mapper.class_, "__vouches__", False):
        state.session.info[_VOUCHING] = True


@event.listens_for(Session, "before_commit")
def _committing(session: Session) -> None:
    session.flush()
    kept = session.info.pop(_WRITTEN, None)
    if kept:
        tenants, subjects, clinics, ids = (list(values) for values in zip(*kept, strict=True))
        given = (
            cast(literal(tenants, ARRAY(Uuid())), ARRAY(Uuid())),
            cast(literal(subjects, ARRAY(Text())), ARRAY(Text())),
            cast(literal(clinics, ARRAY(Uuid())), ARRAY(Uuid())),
            cast(literal(ids, ARRAY(Uuid())), ARRAY(Uuid())),
        )
        rows = func.unnest(*given).table_valued("tenant", "subject", "clinic", "id")
        rows = rows.render_derived()
        session.execute(select(func.count(func.tell(*rows.c))))
    if session.info.pop(_VOUCHING, None):
        here = func.app_tenant()
        session.execute(select(func.tell(here, STANDING, here, here)))


@event.listens_for(Session, "after_rollback")
def _undone(session: Session) -> None:
    session.info.pop(_WRITTEN, None)
    session.info.pop(_VOUCHING, None)
