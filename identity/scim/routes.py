"""`/{tenant}/scim/v2`: where a directory pushes. One request is one transaction; what is refused changes nothing."""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson
from scim2_models import (
    InvalidFilterException,
    InvalidSyntaxException,
    InvalidValueException,
    PayloadTooLargeException,
    UnauthorizedException,
)
from scim2_server.requests import ScimRequest
from scim2_server.responses import SCIM_MEDIA_TYPE, ScimResponse
from scim2_server.service import SEARCH_REQUEST_PARAMETERS
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from domain.audit import Agent
from domain.database import code_of
from domain.pipeline import DatabaseError, Pipeline
from identity.actors import ActorLoader
from identity.deferral import defer_notice
from identity.registry import Registry
from identity.scim.departures import HELD, TooManyLeave, hold
from identity.scim.entrance import Entrance
from identity.scim.journal import Journal, Visit, outside_id
from identity.scim.me import is_me, read
from identity.scim.metrics import count
from identity.scim.protocol import PROTOCOL, Exchange, Protocol
from identity.scim.refusals import Later, refusal, refused
from identity.scim.schemas import MAX_BYTES
from identity.scim.storage import Directory
from identity.scim.swift import Swift
from identity.scim.taking_over import ASKED, Question, ask
from identity.scim.tokens import TokenEnded, bearer_of
from identity.scim.units import Unit
from identity.sync import cell_session

log = logging.getLogger(__name__)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
SECONDS = 30.0
"""How long a body may take to arrive."""
TRIES = 4
"""So often a request is carried out that meets others (serialization, deadlock)."""
_NAMES = {name.lower(): name for name in SEARCH_REQUEST_PARAMETERS}


@dataclass(frozen=True)
class Directories:
    """What the routes work with, of a process that is running. `cell` and `pipeline` as the API's role; `public_url` is ours."""

    registry: Registry
    cell: AsyncEngine
    pipeline: Pipeline
    public_url: str
    entrance: Entrance
    journal: Journal
    actors: ActorLoader


def routes(directories: Callable[[], Directories]) -> list[Route]:
    """The routes; `directories` is asked at each request."""

    async def answer(request: Request) -> Response:
        return await _answer(directories(), request)

    return [
        Route("/{tenant}/scim/v2", answer, methods=METHODS),
        Route("/{tenant}/scim/v2/{path:path}", answer, methods=METHODS),
    ]


async def _answer(directories: Directories, request: Request) -> Response:
    slug = request.path_params["tenant"]
    asked = ScimRequest(
        method=request.method,
        # Never from the Host header, which the sender writes.
        base_url=f"{directories.public_url.rstrip('/')}/{slug}/scim/v2",
        path="/" + request.path_params.get("path", ""),
        headers=list(request.headers.items()),
    )
    visit = Visit(request.method, asked.path, outside_id(dict(request.headers)))
    held = False
    try:
        answer = await _served(directories, request, slug, asked, visit)
    except Exception as error:
        meant = refusal(error)
        if meant is None:
            log.error("a request of a directory failed: %s", type(error).__qualname__)
        answer = PROTOCOL.error_response(error)
        if isinstance(meant, Later):
            answer.headers["Retry-After"] = str(meant.seconds)
        if isinstance(error, TokenEnded):
            visit.token_id, visit.cause = error.token_id, error.cause
        held = isinstance(error, TooManyLeave)
    directories.journal.note(visit, int(answer.status), asked.body or b"", answer.body)
    count(
        slug if visit.tenant_id else None,
        visit.method,
        int(answer.status),
        visit.seconds,
        held=held,
    )
    return _response(asked, answer)


async def _served(
    directories: Directories, request: Request, slug: str, asked: ScimRequest, visit: Visit
) -> ScimResponse:
    entry = await directories.registry.by_slug(slug)
    if entry is None:
        raise UnauthorizedException()
    tenant_id = visit.tenant_id = entry.tenant_id
    header = asked.header("Authorization")
    address = request.client.host if request.client else ""
    if is_me(asked):
        return await _me(directories, request, asked, visit, address)
    await directories.entrance.admit(visit, tenant_id, header, address)
    asked.query = _query(request)
    asked.body = await _body(request)
    if _is_bulk(asked):
        await directories.entrance.limit.count(tenant_id, _operations(asked.body) - 1)
    for attempt in range(1, TRIES + 1):
        try:
            return await _once(directories, asked, visit)
        except UnauthorizedException:
            directories.entrance.forget(tenant_id, header)
            raise
        except (DBAPIError, DatabaseError) as error:
            if code_of(error) != "TRY_AGAIN" or attempt == TRIES:
                raise
            await asyncio.sleep(0.02 * attempt)
    raise AssertionError


async def _me(
    directories: Directories, request: Request, asked: ScimRequest, visit: Visit, address: str
) -> ScimResponse:
    """Somebody about themselves; a token that opens nothing is counted as a stranger's."""
    limit, agent = directories.entrance.limit, _agent(visit)
    unit = Unit(directories.pipeline, agent.tenant_id)
    asked.query = _query(request)
    await limit.check_stranger(address)
    try:
        answer = await read(directories.actors, unit, agent, asked)
    except UnauthorizedException:
        await limit.count_stranger(address)
        raise
    if answer is not None:
        return answer
    async with cell_session(directories.cell, agent.tenant_id) as session:
        bearer = asked.subject
        directory = Directory(session, agent, bearer.token_id)
        return await Exchange(Protocol(bearer.secret), directory).handle(asked)


def _agent(visit: Visit) -> Agent:
    tenant_id: Any = visit.tenant_id
    return Agent(
        tenant_id=tenant_id,
        now=dt.datetime.now(dt.UTC),
        request_id=visit.id,
        outside_request_id=visit.outside_request_id,
    )


async def _once(directories: Directories, asked: ScimRequest, visit: Visit) -> ScimResponse:
    """Whose word it is, and what it asks for: that is one transaction. Whom the guard holds is written down after it."""
    agent = _agent(visit)
    tenant_id = agent.tenant_id
    unit = Unit(directories.pipeline, tenant_id)
    bearer = await bearer_of(unit, asked.header("Authorization"), agent.now)
    if bearer is None:
        raise UnauthorizedException()
    asked.subject = bearer
    protocol = Protocol(bearer.secret)
    answer = await Swift(protocol, unit, agent, bearer).answer(asked)
    if answer is not None:
        return answer
    held: set[UUID] = set()
    questions: list[Question] = []
    try:
        async with cell_session(directories.cell, tenant_id) as session:
            session.info[HELD] = held
            session.info[ASKED] = questions
            directory = Directory(session, agent, bearer.token_id, several=_is_bulk(asked))
            return await Exchange(protocol, directory).handle(asked)
    finally:
        if held:
            async with cell_session(directories.cell, tenant_id) as session:
                if await hold(session, agent, held):
                    await defer_notice(session, tenant_id, "scim_departures", str(visit.id))
        await ask(directories.cell, tenant_id, questions)


def _operations(body: bytes) -> int:
    """How many operations a bulk request has; what is none has one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 1
    named = found if isinstance(found, dict) else {}
    listed = next((v for k, v in named.items() if k.lower() == "operations"), None)
    return max(1, len(listed)) if isinstance(listed, list) else 1


def _is_bulk(asked: ScimRequest) -> bool:
    return asked.path.strip("/") == "Bulk"


def _query(request: Request) -> dict[str, str]:
    """The parameters under the RFC's names, whatever their case: a `Filter` that is dropped shows everybody."""
    out: dict[str, str] = {}
    for sent, value in request.query_params.multi_items():
        name = _NAMES.get(sent.lower(), sent)
        wrong = InvalidFilterException if name == "filter" else InvalidValueException
        if "\0" in value:
            raise refused(wrong, "A value has no character of number 0.")
        if name in out:
            raise refused(wrong, "A parameter stands once.")
        out[name] = value
    return out


async def _body(request: Request) -> bytes:
    """The body. Raises PayloadTooLargeException, InvalidSyntaxException, InvalidValueException."""
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise refused(PayloadTooLargeException, f"At most {MAX_BYTES} bytes.")
    except (TimeoutError, ClientDisconnect):
        raise refused(InvalidSyntaxException, "The body did not arrive.") from None
    if b"\\u0000" in body:
        raise refused(InvalidValueException, "A value has no character of number 0.")
    return bytes(body)


def _response(asked: ScimRequest, answer: ScimResponse) -> Response:
    headers = {**answer.headers, "Cache-Control": "no-store"}
    wanted = f"{asked.header('Accept') or ''} {asked.header('Content-Type') or ''}".lower()
    if "application/json" in wanted and "scim+json" not in wanted:
        headers["Content-Type"] = "application/json"
    else:
        headers["Content-Type"] = SCIM_MEDIA_TYPE
    body = b"" if answer.body is None else orjson.dumps(answer.body)
    if answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        del headers["Content-Type"]
    return Response(body, int(answer.status), headers)
