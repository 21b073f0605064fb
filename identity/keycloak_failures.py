"""What can become of a call to Keycloak.

    KeycloakFailure
    ├── NotFound      404
    ├── Conflict      409
    ├── Denied        401, 403
    ├── Invalid       any other 4xx
    └── Unavailable   no answer, a time-out, 429 or 5xx: worth another try

Messages name the call and the status, never a value that was sent or answered.
"""


class KeycloakFailure(Exception):
    """A call that did not succeed; `status` is the HTTP status, or None when there was no answer."""

    def __init__(self, call: str, status: int | None) -> None:
        super().__init__(f"Keycloak: {call} was answered by {status or 'nothing'}.")
        self.call = call
        self.status = status


class NotFound(KeycloakFailure):
    """What was named is not there."""


class Conflict(KeycloakFailure):
    """It exists already."""


class Denied(KeycloakFailure):
    """The service account is unknown, its secret is wrong, or it may not do this."""


class Invalid(KeycloakFailure):
    """Keycloak refuses the input; a repeat will not help."""


class Unavailable(KeycloakFailure):
    """No usable answer; a repeat may help."""


_BY_STATUS: dict[int, type[KeycloakFailure]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    429: Unavailable,
}


def failure(call: str, status: int | None) -> KeycloakFailure:
    """Our error for a status of Keycloak's; None stands for no answer at all."""
    if status is None or status >= 500:
        return Unavailable(call, status)
    return _BY_STATUS.get(status, Invalid)(call, status)
