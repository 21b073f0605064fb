"""What a client is told when something does not work: a code from a closed list, never Python's own text.

`describe` turns any exception into a `Problem`. What nobody foresaw becomes INTERNAL with the request's id; the log
has the exception's type and the places it went through, no message and no value, for both can quote a patient.
"""

import re
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import structlog
from graphql import GraphQLError, VariableDefinitionNode
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.context import AnswerTooLarge, StaleActor
from api.live.feeds import TooSlow
from api.live.presences import Full, Leaving
from api.rates import RateLimited, RatesUnavailable
from authz.refusals import Forbidden
from domain.database import code_of, refusal_of, sqlstate_of
from domain.errors import DomainError, IllegalMove, NotAllowed, NotFound, StaleVersion
from domain.pipeline import DatabaseError
from identity.errors import (
    AccountHeld,
    IdentityUnavailable,
    MfaRequired,
    StepUpRequired,
    Unauthenticated,
)

log = structlog.get_logger("api.http")

RETRY_AFTER = 2  # seconds
# What graphql-core itself says of a value; every other scalar is ours or Strawberry's, and quotes Python.
_OWN_WORDS = re.compile(r"Expected |(Int|Float|String|Boolean|ID) cannot represent ")
_PYTHON = re.compile(r", but encountered error .*", re.DOTALL)
_OF_SCALAR = "Value cannot represent "  # so begins what Strawberry's own scalars say of a literal


class Code(Enum):
    """The closed list of `errors[].extensions.code`; the value is the HTTP status of a request refused by it."""

    UNAUTHENTICATED = "UNAUTHENTICATED", 401
    MFA_REQUIRED = "MFA_REQUIRED", 401
    STEP_UP_REQUIRED = "STEP_UP_REQUIRED", 401
    FORBIDDEN = "FORBIDDEN", 403
    NOT_FOUND = "NOT_FOUND", 404
    BAD_USER_INPUT = "BAD_USER_INPUT", 400
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED", 400
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED", 400
    OPERATION_TOO_COMPLEX = "OPERATION_TOO_COMPLEX", 400
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND", 400
    PERSISTED_QUERY_REQUIRED = "PERSISTED_QUERY_REQUIRED", 400
    RATE_LIMITED = "RATE_LIMITED", 429
    CONFLICT = "CONFLICT", 409
    UNAVAILABLE = "UNAVAILABLE", 503
    INTERNAL = "INTERNAL", 500

    @property
    def text(self) -> str:
        return self.value[0]

    @property
    def status(self) -> int:
        return self.value[1]


class Problem(Exception):
    """A refusal in the client's terms. `details` become extensions beside the code; `status` and `headers` HTTP's."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or code.status
        self.headers = headers
        self.details = details
        self.at: GraphQLError | None = None

    def formatted(self) -> dict[str, Any]:
        """An entry of `errors` (GraphQL, section 7.1.2), with the place of the error `at`."""
        entry: dict[str, Any] = {"message": self.message}
        error = self.at
        if error is not None and error.locations:
            entry["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
        if error is not None and error.path:
            entry["path"] = error.path
        entry["extensions"] = {"code": self.code.text, **self.details}
        return entry


def describe(error: BaseException, request_id: uuid.UUID) -> Problem:
    """The problem that an exception is for its client. Whatever is unknown is logged and becomes INTERNAL."""
    if isinstance(error, Problem):
        return error
    for kind, tell in _TELL:
        if isinstance(error, kind):
            problem = tell(error)
            if problem is not None:
                return problem
    report(error, request_id)
    return Problem(
        Code.INTERNAL,
        "Something went wrong on our side. Name the request's id when you report it.",
        requestId=str(request_id),
    )


def located(error: GraphQLError, request_id: uuid.UUID) -> dict[str, Any]:
    """The entry for an error that a field met while the operation ran."""
    original = origin(error)
    if original is None:
        # graphql-core's own sentence: an argument that its type does not take.
        return said_of(error, Code.BAD_USER_INPUT).formatted()
    problem = describe(original, request_id)
    problem.at = error
    return problem.formatted()


def said_of(error: GraphQLError, code: Code) -> Problem:
    """graphql-core's sentence about a document or a value, without what a scalar of ours said in Python."""
    message = _PYTHON.sub(".", error.message)
    what, _, why = message.partition(": ")
    quoted = message.startswith(_OF_SCALAR) or origin(error) is not None
    if quoted or (_of_variable(error) and not _OWN_WORDS.match(why)):
        message = what.rstrip(".") + "."
    problem = Problem(code, message)
    problem.at = error
    return problem


def _of_variable(error: GraphQLError) -> bool:
    return any(isinstance(node, VariableDefinitionNode) for node in error.nodes or ())


def origin(error: GraphQLError) -> BaseException | None:
    """What was raised in Python where this error began; None for a sentence of graphql-core's own."""
    original = error.original_error
    while isinstance(original, GraphQLError):
        original = original.original_error
    return original


def report(error: BaseException, request_id: uuid.UUID) -> None:
    """Log a fault of ours: its types and places, no message, no value."""
    chain: list[dict[str, Any]] = []
    step: BaseException | None = error
    while step is not None and len(chain) < 5:
        frames = traceback.extract_tb(step.__traceback__)[-12:]
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append({"type": type(step).__qualname__, "where": where})
        step = step.__cause__ or step.__context__
    log.error("internal_error", request_id=str(request_id), chain=chain)


def unavailable(message: str = "The service is busy. Try again shortly.") -> Problem:
    """Try again: nothing is wrong with the request."""
    return Problem(
        Code.UNAVAILABLE,
        message,
        headers=((b"retry-after", b"%d" % RETRY_AFTER),),
        retryAfter=RETRY_AFTER,
    )


def unauthenticated() -> Problem:
    """No proof, or one that proves nothing: all reasons look the same (RFC 6750 section 3)."""
    return Problem(
        Code.UNAUTHENTICATED, "Log in first.", headers=((b"www-authenticate", b"Bearer"),)
    )


def _of_domain(error: BaseException) -> Problem:
    assert isinstance(error, DomainError)
    if isinstance(error, NotFound):
        return Problem(Code.NOT_FOUND, error.message)
    if isinstance(error, Forbidden):
        return Problem(Code.FORBIDDEN, error.message, reason=error.reason.value)
    if isinstance(error, NotAllowed):
        return Problem(Code.FORBIDDEN, error.message, reason=error.code)
    if isinstance(error, StaleVersion):
        return Problem(Code.CONFLICT, error.message, currentVersion=error.current)
    details: dict[str, Any] = {"reason": error.code}
    if error.path:
        details["input"] = error.path
    code = Code.CONFLICT if isinstance(error, IllegalMove) else Code.BAD_USER_INPUT
    return Problem(code, error.message, **details)


@dataclass(frozen=True)
class _Meaning:
    """What a class of the database's refusals means to a client."""

    code: Code
    message: str
    details: dict[str, Any] = field(default_factory=dict)


_MEANINGS = {
    "CONFLICT": _Meaning(Code.CONFLICT, "Somebody else was first."),
    "NOT_FOUND": _Meaning(Code.NOT_FOUND, "Not found."),
    "INVALID": _Meaning(Code.BAD_USER_INPUT, "A value is not one that can be kept."),
}


def _of_database(error: BaseException) -> Problem | None:
    subject = refusal_of(error)
    if subject is not None:
        return _of_domain(subject)
    found = code_of(error)
    if found in ("TRY_AGAIN", "UNAVAILABLE") or _no_connection(error):
        return unavailable()
    meaning = _MEANINGS.get(found or "")
    return Problem(meaning.code, meaning.message) if meaning else None


def _no_connection(error: BaseException) -> bool:
    return (
        isinstance(error, DBAPIError)
        and sqlstate_of(error) is None
        and error.connection_invalidated
    )


def _of_rates(error: BaseException) -> Problem:
    assert isinstance(error, RateLimited)
    wait = error.retry_after
    return Problem(
        Code.RATE_LIMITED,
        "Too many tries. Wait before the next.",
        headers=((b"retry-after", b"%d" % wait),),
        retryAfter=wait,
    )


def _of_size(error: BaseException) -> Problem:
    assert isinstance(error, AnswerTooLarge)
    details: dict[str, Any] = {"limit": "bytes", "allowed": error.most}
    if error.done:
        details["carriedOut"] = True
    return Problem(
        Code.OPERATION_TOO_COMPLEX,
        f"The answer passes the limit of {error.most} bytes.",
        **details,
    )


def _of_account(error: BaseException) -> Problem:
    """Somebody who proved who they are and is not let in: in words for them."""
    assert isinstance(error, AccountHeld)
    return Problem(Code.FORBIDDEN, str(error), reason=error.cause.value)


def _of_places(error: BaseException) -> Problem:
    """Of a process that is full others may have a place; who is full has to close one first."""
    assert isinstance(error, Full)
    if not error.own:
        return unavailable()
    return Problem(Code.RATE_LIMITED, "Too many connections. Close one first.")


def _of_mfa(error: BaseException) -> Problem:
    assert isinstance(error, MfaRequired)
    return _challenge(
        Code.MFA_REQUIRED, "A second factor is required.", error.acr_values, error.max_age
    )


def _of_step_up(error: BaseException) -> Problem:
    assert isinstance(error, StepUpRequired)
    return _challenge(Code.STEP_UP_REQUIRED, str(error), error.acr_values, error.max_age)


def _challenge(code: Code, message: str, acr_values: str, max_age: int | None) -> Problem:
    """What the next authorization request has to ask for (RFC 9470, section 3), in the header and beside the code."""
    told = f'Bearer error="insufficient_user_authentication", acr_values="{acr_values}"'
    details: dict[str, Any] = {"acrValues": acr_values}
    if max_age is not None:
        told += f', max_age="{max_age}"'
        details["maxAge"] = max_age
    return Problem(code, message, headers=((b"www-authenticate", told.encode()),), **details)


_TELL: tuple[tuple[type[BaseException], Callable[[BaseException], Problem | None]], ...] = (
    (DomainError, _of_domain),
    (DatabaseError, _of_database),
    (DBAPIError, _of_database),
    (PoolTimeout, lambda _: unavailable()),
    (TimeoutError, lambda _: unavailable("It took too long. Try again shortly.")),
    (Unauthenticated, lambda _: unauthenticated()),
    (AccountHeld, _of_account),
    (MfaRequired, _of_mfa),
    (StepUpRequired, _of_step_up),
    (IdentityUnavailable, lambda _: unavailable()),
    (RateLimited, _of_rates),
    (RatesUnavailable, lambda _: unavailable()),
    (AnswerTooLarge, _of_size),
    (Full, _of_places),
    (Leaving, lambda _: unavailable("This server is about to end. Connect again.")),
    (TooSlow, lambda _: Problem(Code.RATE_LIMITED, "Changes come faster than they are taken.")),
    (StaleActor, lambda _: unavailable("Your access has just changed. Try again.")),
)
