"""Logs somebody of the demo world in, as a browser would."""

import httpx

from dev.browser import Browser, LoginFailed
from dev.demo import cast
from dev.faults import Fault
from dev.product import OPERATORS, PORTAL_URL, SYSTEMS
from dev.state import State
from dev.welcome import described

# As `dev.demo.logins` keeps them, which takes a second to import.
PASSWORD, TOTP = "password", "totp"
CALLBACKS = {"portal": "/callback", "admin-portal": "/admin/callback"}


def log_in(state: State, person: str, client: str | None = None) -> str:
    """An access token of this person, by the portal unless another client is told. Raises Fault.

    Operators come by the administrators' portal only.
    """
    operator = cast.operator(person)
    try:
        member = operator or cast.member(person)
    except KeyError:
        raise Fault(f"There is no {person}: `caretree dev people` lists everybody.") from None
    client = client or ("admin-portal" if operator else "portal")
    if client not in CALLBACKS:
        raise Fault(f"There is no portal {client}: it is one of {', '.join(CALLBACKS)}.")
    place = OPERATORS if isinstance(member, cast.Operator) else (SYSTEMS, member.tenant, "issuer")
    issuer = state.get(*place)
    if issuer is None:
        raise Fault("The demo world is not there yet: run `make up` first.")
    kept = state.get("people", person)
    if kept is None:
        raise Fault(f"{person} has no login: {described(member)}.")
    browser = Browser(issuer, PORTAL_URL + CALLBACKS[client], client)
    try:
        return browser.login(person, kept[PASSWORD], kept.get(TOTP))
    except LoginFailed as failed:
        raise Fault(f"{person} cannot log in: {failed}") from None
    except httpx.HTTPError:
        raise Fault(f"Keycloak does not answer at {issuer}: is `make up` running?") from None
    finally:
        browser.close()
