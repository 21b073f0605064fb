"""Why a request is not let in.

Unauthenticated         the proof is worth nothing; `reason` is for logs and metrics, never for the sender
├── TokenRefused        the token itself (tokens.py)
└── NotAdmitted         a genuine token of somebody who may not come in: unknown, inactive, suspended, revoked
MfaRequired             let in after a second factor: the portal logs in again with `acr_values`
IdentityUnavailable     neither yes nor no: the registry or the issuer's keys cannot be had now
"""

from enum import StrEnum


class Refusal(StrEnum):
    """Which check a token failed."""

    MALFORMED = "malformed"
    HEADER = "header"
    ALGORITHM = "algorithm"
    ISSUER = "issuer"
    KEY = "key"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    NOT_YET = "not-yet"
    AUDIENCE = "audience"
    KIND = "kind"
    CLIENT = "client"
    CLAIMS = "claims"
    NOT_ADMITTED = "not-admitted"


class Unauthenticated(Exception):
    """Nobody is proven. To the sender every reason looks the same."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__("Not authenticated.")
        self.reason = reason


class TokenRefused(Unauthenticated):
    """The token proves nothing."""


class NotAdmitted(Unauthenticated):
    """The token is genuine, its holder may not come in (any more)."""

    def __init__(self) -> None:
        super().__init__(Refusal.NOT_ADMITTED)


class MfaRequired(Exception):
    """The health system asks for a second factor that this session did not show."""

    acr_values = "mfa"

    def __init__(self) -> None:
        super().__init__("A second factor is required: log in again with acr_values=mfa.")


class IdentityUnavailable(Exception):
    """The proof could not be judged now; worth another try after `retry_after` seconds."""

    retry_after = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} cannot be reached.")
