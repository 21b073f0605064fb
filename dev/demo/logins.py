"""What the people of the demo world log in with, kept in the stack's state under `people.<login>`."""

import secrets
import string

from dev.demo.cast import Member, Operator
from dev.state import State
from identity.sync import FirstLogin

# Keycloak takes the secret's text as it is and shows its base32; 20 bytes as RFC 4226 section 4 recommends.
_SECRET = string.ascii_letters + string.digits
PASSWORD, TOTP = "password", "totp"


def login_of(state: State, member: Member | Operator, *, totp: bool) -> FirstLogin:
    """The member's password, and with `totp` the secret of their authenticator app: drawn once, then the same."""
    password = state.drawn("people", member.login, PASSWORD, draw=_password)
    secret = state.drawn("people", member.login, TOTP, draw=_totp) if totp else None
    return FirstLogin(password, temporary=False, totp_secret=secret)


def kept(state: State, login: str) -> FirstLogin:
    """What somebody logs in with. Raises LookupError when the seed has not made them yet."""
    password = state.get("people", login, PASSWORD)
    if password is None:
        raise LookupError(f"{login} is not there yet.")
    return FirstLogin(password, temporary=False, totp_secret=state.get("people", login, TOTP))


def _password() -> str:
    return secrets.token_urlsafe(15)


def _totp() -> str:
    return "".join(secrets.choice(_SECRET) for _ in range(20))
