"""Reads a realm back, says in which points it is not what the template and its plan say, and mends them.

Keycloak answers 204 to much that it does not do, and administrators' consoles change much that nobody wrote down.
A difference is one sentence without any person's data, with what mends it. A realm that an older template made differs
from the present one like any other, so bringing it up to date is the same work (`identity/upgrades.py`).
"""

from collections.abc import Iterator

from domain.second_factors import MfaMethod
from identity.drift import clients, flows, rights, scopes, settings
from identity.drift.difference import Difference
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Unavailable
from identity.realms import RealmPlan, logins, representation

_ROUNDS = 4
VERSION = "template_version"


class StillDiffers(Exception):
    """The realm is not what it shall be after everything was mended; `found` says in which points."""

    def __init__(self, found: list[str]) -> None:
        super().__init__("The realm still differs: " + " ".join(found))
        self.found = found


async def drift(realm: Realm, plan: RealmPlan) -> list[str]:
    """What differs. `realm` speaks as the master's provisioning client. Changes nothing."""
    return [difference.said for difference in await differences(realm, plan)]


async def repair(realm: Realm, plan: RealmPlan) -> list[str]:
    """Mend what differs; answer what that was. Safe to repeat and to cut off: it begins where the realm stands.

    The template's version is written last, so that a realm says it only once it is so. Raises StillDiffers,
    KeycloakFailure.
    """
    said: list[str] = []
    for _ in range(_ROUNDS):
        found = await differences(realm, plan)
        if not found:
            return said
        due = [one for one in found if not one.last] or found
        for one in due:
            if one.said not in said:
                said.append(one.said)
            await one.mend()
    left = await drift(realm, plan)
    if left:
        raise StillDiffers(left)
    return said


async def apply_methods(realm: Realm, methods: tuple[MfaMethod, ...]) -> None:
    """Let logins take these kinds of second factor and no other. Safe to repeat and to cut off.

    Raises StillDiffers, KeycloakFailure.
    """
    wanted = {**logins(methods), "components": {}}
    for _ in range(_ROUNDS):
        found = await realm.export()
        due = [*flows.of_flows(realm, wanted, found), *settings.of_parts(realm, wanted, found)]
        if not due:
            return
        for difference in due:
            await difference.mend()
    raise StillDiffers([difference.said for difference in due])


async def differences(realm: Realm, plan: RealmPlan) -> list[Difference]:
    """Each point in which the realm differs, in the order in which they can be mended."""
    wanted = representation(plan)
    found = await realm.export()
    if "clients" not in found:
        raise Unavailable("export realm", None)
    held = await rights.read(realm, found, plan)
    return list(_all(realm, plan, wanted, found, held))


def _all(
    realm: Realm, plan: RealmPlan, wanted: Json, found: Json, held: rights.Held
) -> Iterator[Difference]:
    yield from scopes.of_roles(realm, wanted["roles"]["realm"], found["roles"]["realm"])
    yield from scopes.of_scopes(realm, wanted["clientScopes"], found["clientScopes"])
    yield from clients.of_clients(realm, wanted["clients"], found)
    yield from flows.of_flows(realm, wanted, found)
    yield from settings.of_realm(realm, wanted, found, {VERSION})
    yield from settings.of_parts(realm, wanted, found)
    yield from scopes.of_defaults(realm, wanted, found)
    yield from rights.of_rights(realm, plan, wanted["users"], held)
