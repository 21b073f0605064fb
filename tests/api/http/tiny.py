"""A small schema behind the real endpoint, and a way to ask it: what is under test is HTTP, not the product's schema."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import httpx
import orjson
import strawberry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from strawberry.schema.config import StrawberryConfig

from api.context import Context, StaleActor
from api.graph.relay import stream
from api.http.cors import cors
from api.http.entrance import Entrance
from api.http.events import Events
from api.http.graphql import Authenticate, GraphQLEndpoint, Hooks, Ports
from api.http.sockets import Sockets
from api.leaving import first
from api.live.feeds import Feeds
from api.live.presences import Presences
from api.plan.execute import PassThrough
from api.rates import Tally
from api.schema import answer_events
from authz.actor import Actor, Session
from authz.refusals import Forbidden, Reason
from authz.templates import Variant, load_policy
from authz.tree import Tree
from domain.errors import Invalid, NotFound, StaleVersion
from domain.model import new_id
from domain.pipeline import DatabaseError, OutcomeUnknown, Pipeline
from tests import make

SECRET = "Jane Roe 1980-02-03"


@strawberry.type
class Patient:
    name: str | None = None

    @strawberry.field
    def sibling(self) -> "Patient":
        return self

    @strawberry.field
    def siblings(self, first: int = 20) -> list["Patient"]:
        return [self] * min(first, 2)


FAULTS: dict[str, Exception] = {
    "python": RuntimeError(f"could not read {SECRET}"),
    "key": KeyError(SECRET),
    "not found": NotFound(),
    "forbidden": Forbidden(Reason.NO_ROLE),
    "stale version": StaleVersion(7),
    "invalid": Invalid("A page holds 0 to 100 rows.", path=("first",)),
    "timeout": TimeoutError(SECRET),
    "database": DatabaseError("XX000", None, None),
    "lost": DatabaseError("08006", None, None),
}


@strawberry.type
class Query:
    @strawberry.field
    async def patient(self, id: strawberry.ID) -> Patient | None:
        return Patient(name=f"Patient {id}")

    @strawberry.field
    def at(self, when: dt.datetime) -> str:
        return when.isoformat()

    @strawberry.field
    def finished(self, lines: int = 0) -> Patient | None:
        return orjson.Fragment(b'{"name":' + b" \r\n" * lines + b'"from SQL"}')  # type: ignore[return-value]  # finished JSON stands for its type

    @strawberry.field
    def later(self) -> str | None:
        return asyncio.sleep(0, "now")  # type: ignore[return-value]  # to be awaited, though the resolver is none

    @strawberry.field
    async def slow(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @strawberry.field
    def fault(self, kind: str) -> str | None:
        raise FAULTS[kind]

    @strawberry.field
    def null_for_non_null(self) -> str:
        return None  # type: ignore[return-value]  # what a broken resolver does

    @strawberry.field
    def fresh(self, info: strawberry.Info[Context, None]) -> str:
        if info.context.actor.person_version == 1:
            raise StaleActor()
        return "fresh"

    @strawberry.field
    def lost_once(self) -> str:
        LOST.append("")
        if len(LOST) == 1:
            raise OutcomeUnknown()
        return "found"

    @strawberry.field
    def hidden(self, info: strawberry.Info[Context, None]) -> Patient | None:
        info.context.note_masked(((("hidden", "name"), "CLINICAL", 2),))
        info.context.note_masked(((("hidden", "name"), "CLINICAL", 1),))
        return None


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, name: str) -> Patient:
        RENAMED.append(name)
        if name == "lost":
            raise OutcomeUnknown()
        return Patient(name=name)

    @strawberry.mutation
    def move(
        self, info: strawberry.Info[Context, None], to: str, begun: bool = False
    ) -> str | None:
        RENAMED.append(to)
        if info.context.actor.person_version == 1:
            info.context.begun = begun
            raise StaleActor()
        return to

    @strawberry.mutation
    async def note(self, text: str) -> str | None:
        RENAMED.append(text)
        await asyncio.sleep(0)
        if text == "stale":
            raise StaleVersion(7)
        return text


async def counted(event: int, info: Any, **_: Any) -> int | None:
    """The answer to an event; every third one is nobody's to see."""
    if info.context.actor.person_version == 1 and event == 7:
        raise StaleActor()
    if event == 8:
        raise RuntimeError(f"could not read {SECRET}")
    return None if event % 3 == 2 else event


@strawberry.type
class Subscription:
    @stream("own", "Numbers from one on.", counted)
    async def count(
        self,
        info: strawberry.Info[Context, None],
        until: int = 3,
        pause: float = 0.0,
        since: int = 1,
    ) -> AsyncGenerator[int | None, None]:
        for number in range(since, until + 1):
            await asyncio.sleep(pause)
            yield number

    @stream("own", "Nothing, until it is refused.", counted)
    async def refused(self, after: float = 0.0) -> AsyncGenerator[int | None, None]:
        await asyncio.sleep(after)
        raise Forbidden(Reason.NO_ROLE)
        yield 0


RENAMED: list[str] = []
LOST: list[str] = []
SCHEMA = strawberry.Schema(
    Query,
    Mutation,
    Subscription,
    execution_context_class=PassThrough,
    config=StrawberryConfig(),
)
answer_events(SCHEMA._schema)


def actor(version: int = 1) -> Actor:
    """Somebody without any grant."""
    system = make.tree()
    tenant_id = system.tenant.tenant_id
    now = dt.datetime.now(dt.UTC)
    later = now + dt.timedelta(hours=1)
    return Actor(
        tenant_id=tenant_id,
        person_id=new_id(),
        practitioner_id=None,
        user_name="pat",
        grants=(),
        tree=Tree.build(tenant_id, 1, [system.root]),
        policy=load_policy(Variant("admins_inherit", False)),
        session=Session("sid", now, now, False, later),
        person_version=version,
        tenant_version=1,
        valid_until=later,
    )


ACTOR, FRESH = actor(1), actor(2)


async def anybody(bearer: str, *, fresh: bool = False) -> Actor:
    """Lets every token in."""
    return FRESH if fresh else ACTOR


def context(who: Actor, request_id: uuid.UUID) -> Context:
    """A context for resolvers that never go to the database."""
    return Context(
        actor=who,
        pipeline=NOWHERE,
        keyring=None,  # type: ignore[arg-type]  # the small schema opens nothing
        cell=None,  # type: ignore[arg-type]  # and commands nothing
        request_id=request_id,
        stamped=True,  # there is nobody to ask whether the actor still stands
    )


NOWHERE = Pipeline("")
OWN = "http://test"
"""The origin of the small application's own pages."""


class Everybody:
    """Actors whom nothing befalls, but those of tokens that a test has `cut`."""

    def __init__(self, authenticate: Authenticate) -> None:
        self.authenticate = authenticate
        self.cut: dict[str, Exception] = {}

    async def actor(self, bearer: str, *, fresh: bool = False) -> Actor:
        if bearer in self.cut:
            raise self.cut[bearer]
        return await self.authenticate(bearer, fresh=fresh)

    async def fallen(self, actors: Sequence[Actor]) -> list[int]:
        return list(range(len(actors))) if self.cut else []


def app(
    authenticate: Authenticate = anybody,
    hooks: Hooks | None = None,
    origins: tuple[str, ...] = (),
    compiling: Tally | None = None,
    presences: Presences | None = None,
    waits: Mapping[str, float] = MappingProxyType({}),
    **options: Any,
) -> Starlette:
    """The endpoint behind the same middleware as in `create_app`. `waits`: of the doors that stay open, by name."""
    everybody = Everybody(authenticate)
    present = presences or Presences(everybody, Feeds(""), 100)
    ports = Ports(everybody.actor, context, hooks or Hooks(), compiling or Tally())
    endpoint = GraphQLEndpoint(SCHEMA, lambda: ports, **options)
    shared = {"patience": waits.get("patience", 10.0)}
    events = Events(endpoint, lambda: present, beat=waits.get("beat", 15.0), **shared)
    pages = frozenset({*origins, OWN})
    sockets = Sockets(endpoint, lambda: present, pages, init=waits.get("init", 10.0), **shared)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None, None]:
        with first(present.leave):
            yield

    made = Starlette(
        lifespan=lifespan,
        middleware=[*cors(origins), Middleware(Entrance, endpoint, events, sockets)],
    )
    made.state.presences, made.state.everybody = present, everybody
    return made


def client(served: Starlette | None = None, **headers: str) -> httpx.AsyncClient:
    """Speaks to the application without a socket, as somebody who is logged in."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(served or app()),
        base_url="http://test",
        headers={"authorization": "Bearer t", "content-type": "application/json"} | headers,
    )


async def ask(
    query: str, variables: Any = None, served: Starlette | None = None, **headers: str
) -> httpx.Response:
    """Send one operation."""
    async with client(served, **headers) as http:
        body = orjson.dumps({"query": query, "variables": variables})
        return await http.post("/graphql", content=body)


def code(response: httpx.Response) -> str:
    """The code of the only error."""
    [error] = response.json()["errors"]
    found: str = error["extensions"]["code"]
    return found
