"""Why a request is not let in.

Unauthenticated         the proof is worth nothing; `reason` is for logs and metrics, never for the sender
├── TokenRefused        the token itself (tokens.py)
└── NotAdmitted         a genuine token of somebody who may not come in: unknown, inactive, suspended, revoked
AccountHeld             a genuine login through an identity provider that nobody is let in by (yet); the cause is for the person
MfaRequired             let in after a second factor: the portal logs in again with `acr_values` (and `max_age`)
StepUpRequired          let in, but for this action they have to prove once more who they are (RFC 9470)
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


class Cause(StrEnum):
    """Why a login through an identity provider was held."""

    PROVIDER_INACTIVE = "PROVIDER_INACTIVE"
    NOT_KNOWN = "NOT_KNOWN"
    NAME_TAKEN = "NAME_TAKEN"
    DOMAIN_NOT_PROVEN = "DOMAIN_NOT_PROVEN"
    INCOMPLETE = "INCOMPLETE"
    INACTIVE = "INACTIVE"
    TESTED = "TESTED"


_WAIT = "Your administrator has been told and decides."
SAID = {
    Cause.PROVIDER_INACTIVE: "Logging in this way is switched off at the moment. Ask your administrator.",
    Cause.NOT_KNOWN: f"You have proven who you are, but nobody has given you an account here yet. {_WAIT}",
    Cause.NAME_TAKEN: f"Somebody here has your user name already, perhaps you yourself. {_WAIT}",
    Cause.DOMAIN_NOT_PROVEN: f"Your e-mail address is not of a domain that was proven for this login. {_WAIT}",
    Cause.INCOMPLETE: f"Your login did not tell your user name, given name and family name. {_WAIT}",
    Cause.INACTIVE: "Your account here has been closed. Ask your administrator.",
    Cause.TESTED: "The test is done; its result waits where it was started.",
}
"""What the person reads."""


class AccountHeld(Exception):
    """The login is genuine and nobody is let in by it; logging in again helps only after somebody has decided."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(SAID[cause])
        self.cause = cause


class MfaRequired(Exception):
    """The health system asks for a second factor that this session did not show."""

    acr_values = "mfa"

    def __init__(self, max_age: int | None = None) -> None:
        super().__init__("A second factor is required: log in again with acr_values=mfa.")
        self.max_age = max_age


class StepUpRequired(Exception):
    """The action asks for a proof of who one is, with a second factor, that is younger than `max_age` seconds."""

    acr_values = "mfa"

    def __init__(self, max_age: int) -> None:
        super().__init__("Prove who you are once more.")
        self.max_age = max_age


class IdentityUnavailable(Exception):
    """The proof could not be judged now; worth another try after `retry_after` seconds."""

    retry_after = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} cannot be reached.")
