"""Errors as RFC 7644, section 3.12, has them, each with one sentence of ours: no text of a library, no value of a row."""

from typing import Any, TypeVar

from pydantic import ValidationError
from scim2_models import (
    Error,
    InvalidValueException,
    MutabilityException,
    NotFoundException,
    PreconditionFailedException,
    SCIMException,
    UniquenessException,
)
from scim2_server.service import scim_exception_of
from sqlalchemy.exc import DBAPIError

from domain import errors
from domain.database import code_of, refusal_of
from domain.pipeline import DatabaseError
from identity.errors import IdentityUnavailable
from identity.provisioning import UserNameTaken

Refused = TypeVar("Refused", bound=SCIMException)
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
AGAIN = 2
"""Seconds after which a request that met another one, or a database that was away, may come again."""
PLAIN = {
    "expiredCursor": "The cursor has expired: begin the search anew.",
    "invalidCount": "With a cursor goes the count that it was answered to.",
    "invalidCursor": "The cursor is none of this search.",
    "invalidFilter": "The filter cannot be understood.",
    "invalidPath": "The path cannot be understood, or names no attribute.",
    "invalidSyntax": "The body is no JSON of the form that the request asks for.",
    "invalidValue": "A value is missing, or cannot be taken.",
    "mutability": "An attribute that is not to be changed would change.",
    "noTarget": "The path selects nothing.",
    "uniqueness": "A value that is unique is taken.",
    "tooMany": "Too many.",
    400: "The request cannot be understood.",
    401: "A bearer token that is valid for this address is needed.",
    403: "The token does not allow this.",
    404: "Not found.",
    405: "This address does not take this method.",
    409: "The request conflicts with what is there.",
    412: "The resource has another version by now.",
    413: "The request is too large.",
    415: "A body is application/scim+json or application/json.",
    429: "Too many requests.",
    501: "This is not supported.",
    503: "Not possible just now.",
}
"""scimType or status -> what is said where the core refuses."""
_MEANING: tuple[tuple[type[errors.DomainError], type[SCIMException]], ...] = (
    (UserNameTaken, UniquenessException),
    (errors.NotFound, NotFoundException),
    (errors.StaleVersion, PreconditionFailedException),
    (errors.NotAllowed, MutabilityException),
)
_OF_FIELDS = frozenset({"INVALID"})
"""Codes of refusals about a value; others are about the state of things."""


class Later(SCIMException):
    """Not now; the same request may come again."""

    status = 503

    def __init__(self, status: int = 503, seconds: int = AGAIN) -> None:
        super().__init__(detail=PLAIN[status])
        self.status = status
        self.seconds = seconds


def refused(kind: type[Refused], sentence: str) -> Refused:
    """An error with a sentence of ours, which is shown as it is."""
    return kind(detail=sentence, ours=True)


def invalid(error: ValidationError) -> SCIMException:
    """What the core finds wrong with a body, by the attribute's name alone."""
    found = scim_exception_of(error)
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    named = [part for part in first["loc"] if isinstance(part, str) and part.isidentifier()]
    if not named or len(named[-1]) > 60:
        return found
    made = type(found)(detail=f"{named[-1]} is missing, or cannot be taken.", ours=True)
    made.status, made.scim_type = found.status, found.scim_type
    return made


def refusal(error: BaseException) -> SCIMException | None:
    """What an error means to a directory; None for a fault of ours."""
    if isinstance(error, SCIMException):
        return error
    if isinstance(error, IdentityUnavailable):
        return Later(seconds=error.retry_after)
    if isinstance(error, errors.DomainError):
        return _of_domain(error)
    if isinstance(error, DBAPIError | DatabaseError):
        meant = refusal_of(error)
        return _of_domain(meant) if meant else _of_database(code_of(error), error)
    return None


def _of_domain(error: errors.DomainError) -> SCIMException:
    for kind, meaning in _MEANING:
        if isinstance(error, kind):
            return refused(meaning, error.message)
    kind_ = InvalidValueException if error.code in _OF_FIELDS else MutabilityException
    field = f"{error.path[-1]}: " if error.path and kind_ is InvalidValueException else ""
    return refused(kind_, f"{field}{error.message}")


def _of_database(code: str | None, error: DBAPIError | DatabaseError) -> SCIMException | None:
    if code == "CONFLICT":
        return refused(UniquenessException, PLAIN["uniqueness"])
    if code in ("TRY_AGAIN", "UNAVAILABLE"):
        return Later()
    if (
        code in ("INVALID", "NOT_FOUND")
        or type(getattr(error, "orig", None)).__name__ == "DataError"
    ):
        return refused(InvalidValueException, PLAIN["invalidValue"])
    return None


def body_of(error: SCIMException) -> Error:
    """The error's body."""
    said = error.detail if error.context.get("ours") or isinstance(error, Later) else None
    detail = said or sentence_of(error)
    return Error(status=error.status, scim_type=error.scim_type or None, detail=detail)


def sentence_of(error: SCIMException | Error) -> str:
    """What is said of an error of this type, or of this status, without a word of who raised it."""
    plain: Any = PLAIN.get(error.scim_type or "") or PLAIN.get(error.status or 400, PLAIN[400])
    return str(plain)
