"""What one request carries: who asks, the way to the database, and what was hidden from them."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from api.live.presences import Presence
from api.plan.facts import memo
from api.rates import Rates, Tally
from authz.actor import Actor
from authz.guard import settings_for
from domain.pipeline import DatabaseError, Lane, Pipeline, Row, Statement, settings_statement
from domain.sealing import Keyring
from identity.actors import stamp

DIVISION_BY_ZERO = "22012"
MOST_BYTES = 16 * 1024 * 1024
"""How long what the plans of one request answer may be."""


class StaleActor(Exception):
    """The person, their grants, the health system or the session have changed since the actor was made."""


class AnswerTooLarge(Exception):
    """What was asked for is longer than an answer may be. `done`: the command behind it was carried out all the same."""

    def __init__(self, most: int, *, done: bool = False) -> None:
        super().__init__("too large")
        self.most = most
        self.done = done


Place = tuple[str, uuid.UUID]
"""A resource and a node of the tree."""
Masked = tuple[tuple[str, ...], str, int]


@dataclass(slots=True)
class Context:
    """Lives for one request. `masked` collects (path, group, how many) for `extensions.masked`."""

    actor: Actor
    pipeline: Pipeline
    keyring: Keyring
    request_id: uuid.UUID
    cell: AsyncEngine  # for commands, by `authz.guard.guarded_session`
    deadline: float | None = None  # seconds that a unit may take
    rates: Rates = field(default_factory=lambda: Rates(None))
    refusals: Tally = field(
        default_factory=Tally
    )  # commands that policy refused: each leaves an event
    compiling: Callable[[], AbstractContextManager[None]] = (
        nullcontext  # around the making of plans
    )
    masked: list[Masked] = field(default_factory=list)
    ids: list[bytes] = field(
        default_factory=list
    )  # of the rows that an answer shows, for read audit
    stamped: bool = False  # whether the database has been asked if the actor still stands
    begun: bool = False  # whether a command has, so that what it did may stay
    presence: Presence | None = None  # of a connection that stays open: what it may follow
    plain_webhooks: bool = False  # whether http will do (development)
    loopback: bool = False  # development: identity providers may be on this machine
    most_bytes: int = MOST_BYTES
    weighed: int = 0  # bytes of the answers so far

    @property
    def who(self) -> tuple[uuid.UUID, uuid.UUID]:
        """The asker, for counting."""
        return self.actor.tenant_id, self.actor.person_id

    async def read(
        self,
        resources: frozenset[str],
        statement: Statement,
        lane: Lane,
        place: Place | None = None,
    ) -> Row | None:
        """Run one statement under the actor's settings and stamp; its row, or None.

        `place`: rows of this resource are asked for at or below this node only, so no other places are opened.
        Raises StaleActor where the person, their grants, the tenant or the session have changed, and the
        errors of `domain.pipeline`.
        """
        actor = self.actor
        settings = memo(
            actor,
            (resources, place),
            lambda a: settings_statement(
                settings_for(a, resources, places=() if place is None else (place,))
            ),
        )
        stamped = memo(actor, "stamp", stamp)
        self.stamped = True
        fresh, rows = await self.pipeline.unit(
            settings, stamped, statement, lane=lane, deadline=self.deadline
        )
        if not fresh:
            raise StaleActor()
        return rows[0] if rows else None

    async def write(
        self,
        resources: frozenset[str],
        written: Mapping[str, tuple[str, ...]],
        statement: Statement,
        places: tuple[Place, ...] = (),
    ) -> Row | None:
        """As `read`, for a statement that also writes: `written` names tables' resources and the permissions.

        `places`: as `place`, of several resources. The stamp comes last: the statement may have waited for another, and what changed meanwhile counts.
        """
        actor = self.actor
        key = (resources, tuple(written.items()), places)
        self.stamped = True
        settings = memo(
            actor, key, lambda a: settings_statement(settings_for(a, resources, written, places))
        )
        try:
            rows, _ = await self.pipeline.unit(
                settings, statement, memo(actor, "strict", _strict), deadline=self.deadline
            )
        except DatabaseError as error:
            if error.sqlstate == DIVISION_BY_ZERO:
                raise StaleActor() from None
            raise
        self.begun = True
        return rows[0] if rows else None

    async def still_valid(self) -> None:
        """Raises StaleActor where the actor has changed since it was made."""
        tenant = (("app.tenant", str(self.actor.tenant_id)),)
        stamped = memo(self.actor, "stamp", stamp)
        self.stamped = True
        (fresh,) = await self.pipeline.unit(tenant, stamped, deadline=self.deadline)
        if not fresh:
            raise StaleActor()

    async def opener(self) -> Callable[[str, str, str, str], str]:
        """Opens sealed values of the actor's health system: `(table, column, row id, base64)` to text."""
        keys = await self.keyring.of(self.actor.tenant_id)
        return keys.open_text

    def weigh(self, size: int, *, done: bool = False) -> None:
        """Count bytes of the answer. Raises AnswerTooLarge where that is too much for one."""
        self.weighed += size
        if self.weighed > self.most_bytes:
            raise AnswerTooLarge(self.most_bytes, done=done)

    def note_masked(self, masked: tuple[Masked, ...]) -> None:
        """Keep what an answer hides for the summary of the response."""
        if masked:
            self.masked.extend(masked)


def _strict(actor: Actor) -> Statement:
    """The stamp as a statement that fails where it no longer holds, so that nothing of the unit is kept."""
    made = stamp(actor)
    text = "select 1 / count(*) from (" + made.sql + ") fresh"  # noqa: S608 - both parts are constants
    return Statement(text, made.params)
