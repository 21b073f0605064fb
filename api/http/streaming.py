"""An operation as the answers that it gives: one of a query or a mutation, of a subscription one for each event.

Each event runs like a request of its own: the same limits, context, deadline, stamp and hooks, the actor as it is then
(GraphQL, section 6.2.3, "MapSourceToResponseEvent"). An event whose row the actor may not see gives no answer, as if
nothing had happened.
"""

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import aclosing

from graphql import ExecutionResult

from api.http.body import Asked
from api.http.graphql import GraphQLEndpoint, Task, answer_of
from api.http.metrics import counter
from api.live.presences import Presence
from authz.actor import Actor
from domain.model import new_id

BEAT = 15.0
"""Seconds of silence after which something is sent, so that whatever lies between keeps the connection open."""
PATIENCE = 10.0
"""Seconds that a client may take to read what it is sent before it is too slow."""
GONE = 3.0
"""Seconds that closing may take."""


async def answers(
    endpoint: GraphQLEndpoint, presence: Presence, asked: Asked
) -> AsyncGenerator[bytes, None]:
    """The answers of an operation, each the JSON of a response. Raises Problem, and whatever ends a subscription."""
    actor = await present(endpoint, presence)
    task = endpoint.task(asked, actor, presence.token, new_id())
    task.presence = presence
    endpoint.documents.cost(task.operation, task.variables)
    if not task.operation.is_subscription:
        yield await answered(endpoint, task) or b""
        return
    async with aclosing(await endpoint.events(task)) as events:
        async for event in events:
            async with presence.turns:
                task.event, task.request_id = event, new_id()
                task.actor = await present(endpoint, presence)
                answer = await answered(endpoint, task)
            if answer is not None:
                yield answer


async def answered(endpoint: GraphQLEndpoint, task: Task) -> bytes | None:
    """Run the operation once; None for an event that shows the actor nothing."""
    result, context, cost = await endpoint.run(task)
    assert task.presence is not None
    task.presence.renew(task.actor)
    if task.operation.is_subscription and shows_nothing(result):
        return None
    _, answer, outcome = answer_of(result, context, cost, task.request_id)
    counter(task.operation.kind, outcome).inc()
    return answer


def shows_nothing(result: ExecutionResult) -> bool:
    return not result.errors and all(value is None for value in (result.data or {}).values())


async def present(endpoint: GraphQLEndpoint, presence: Presence) -> Actor:
    """The actor as it is now: what time gives and takes is not in the stamp. Raises what refuses them."""
    if presence.actor.valid_until <= dt.datetime.now(dt.UTC):
        presence.renew(await endpoint.ports().authenticate(presence.token))
    return presence.actor
