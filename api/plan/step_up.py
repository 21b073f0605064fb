"""Sensitive actions: who carries one out has proven who they are a short while ago, with a second factor (RFC 9470).

The table is here and nowhere else. What takes access away (revoking a grant, signing somebody out) is not in it:
nothing keeps that waiting.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from authz.actor import Actor
from authz.grants import SECOND_FACTOR
from authz.settings import split
from identity.errors import StepUpRequired

FRESH = 300
"""For so many seconds a proof is good for sensitive actions."""
Sensitive = Callable[[Any], bool]


def always(_: Any) -> bool:
    """Whatever is asked for."""
    return True


def administration(given: Any) -> bool:
    """Where a role is given that administers, or watches over those who do."""
    first = getattr(given, "grant", None)
    return getattr(first or given, "role", None) in SECOND_FACTOR


BY_PERMISSION: Mapping[str, Sensitive] = MappingProxyType(
    {
        # Second factors, identity providers, domains, rules, directories: who comes in, and as whom.
        "tenant:configure": always,
        "audit:export": always,
    }
)
BY_MUTATION: Mapping[str, Sensitive] = MappingProxyType(
    {
        "createPerson": administration,
        "giveGrant": administration,
        "importPeople": always,
        "extendGrant": always,
        "requestGrant": always,
        "approveGrant": always,
    }
)


def demand(actor: Actor, mutation: str, permission: str, given: Any, now: dt.datetime) -> None:
    """Raises StepUpRequired where the action is sensitive and the proof is missing or too old.

    Not for who may not do it anywhere: another proof would not help them.
    """
    sensitive = BY_MUTATION.get(mutation) or BY_PERMISSION.get(permission)
    if sensitive is None or not sensitive(given):
        return
    if ":" in permission and not actor.may(*split(permission)):
        return
    proven = actor.session.proven_at
    if proven is None or now - proven > dt.timedelta(seconds=FRESH):
        raise StepUpRequired(FRESH)
