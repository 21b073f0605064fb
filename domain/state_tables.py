"""Which state a row may come to from which: one table a subject, for commands, the database and the docs alike.

The database has no look at a row before its change, so the row keeps the state before the present one beside it, and
a check refuses every pair that the table does not have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from sqlalchemy import CheckConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.errors import IllegalMove
from domain.model import one_of
from domain.versions import Versioned, change

S = TypeVar("S", bound=StrEnum)
ERROR = "entered-in-error"


@dataclass(frozen=True)
class StateTable(Generic[S]):
    """The states of a subject (`what`, as people call it) and the moves between them; `column` holds the state."""

    what: str
    moves: Mapping[S, frozenset[S]]
    column: str = "state"

    def move(self, present: str, wanted: S) -> str:
        """The wanted state, if it may follow the present one. Raises IllegalMove."""
        if wanted not in self.moves[type(wanted)(present)]:
            raise IllegalMove(self.what, present, wanted.value)
        return wanted.value

    def first(self, state: S) -> str:
        """A state for a new row. Raises IllegalMove for an error, which nothing is from the start."""
        if state == ERROR:
            raise IllegalMove(self.what, "new", state.value)
        return state.value

    def steps(self) -> str:
        """The moves as SQL: pairs of a state and one that may follow it."""
        return ", ".join(
            f"('{now.value}', '{then.value}')"
            for now, following in self.moves.items()
            for then in type(now)
            if then in following
        )

    def constraints(self) -> tuple[CheckConstraint, ...]:
        """What the database holds: a known state, a legal step to it, a reason only for what was an error."""
        (states,) = {type(state) for state in self.moves}
        return (
            one_of(self.column, states),
            CheckConstraint(
                f"state_before is null or (state_before, {self.column}) in ({self.steps()})",
                name="state_step",
            ),
            CheckConstraint(
                f"error_reason is null or {self.column} = '{ERROR}'", name="error_reason"
            ),
        )


def table(
    what: str,
    states: type[S],
    column: str = "state",
    *,
    never: Iterable[str] = (),
    **following: Iterable[str],
) -> StateTable[S]:
    """The table of these states: `planned=("arrived", …)` says what may follow each, underscores for hyphens.

    Whatever a row is, it may turn out to be an error, but for those in `never`; and an error it stays.
    """
    said = {name.replace("_", "-"): set(then) for name, then in following.items()}
    found = {
        state: frozenset(
            then
            for then in states
            if (then == ERROR and state.value not in (ERROR, *never))
            or then.value in said.get(state.value, ())
        )
        for state in states
    }
    wrong = {*said, *(then for some in said.values() for then in some)} - {s.value for s in states}
    assert not wrong, f"no states of a {what}: {wrong}"
    return StateTable(what, found, column)


class Stateful:
    """A row whose state follows a table. `error_reason` says why it was struck out as entered in error."""

    __states__: ClassVar[StateTable[Any]]

    state_before: Mapped[str | None] = mapped_column(sort_order=80)
    error_reason: Mapped[str | None] = mapped_column(sort_order=81)

    async def parts(self, session: AsyncSession) -> list[Any]:  # noqa: ARG002 - for those who have parts
        """Rows that are struck out with this one."""
        return []


class Moving(Versioned, Protocol):
    """A row with a version and a state."""

    __states__: ClassVar[StateTable[Any]]


Row = TypeVar("Row", bound=Moving)


def step(row: Moving, wanted: StrEnum) -> dict[str, str]:
    """The columns of a move. Raises IllegalMove."""
    states = row.__states__
    present: str = getattr(row, states.column)
    return {states.column: states.move(present, wanted), "state_before": present}


def revised(row: Moving, wanted: StrEnum | None) -> dict[str, str]:
    """As `step`, or nothing where the state stays. Raises IllegalMove also for what is struck out, or would be.

    To strike out is a command of its own, which asks for a reason.
    """
    states = row.__states__
    present: str = getattr(row, states.column)
    if ERROR in (present, wanted):
        raise IllegalMove(states.what, present, wanted or "something else")
    return {} if wanted is None or wanted == present else step(row, wanted)


async def become(
    session: AsyncSession, agent: Agent, row: Row, version: int, wanted: StrEnum, **values: Any
) -> Row:
    """Move the row to a state, with further values. Raises IllegalMove, StaleVersion, NotFound."""
    return await change(session, agent, row, version, **step(row, wanted), **values)
