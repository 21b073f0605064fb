"""Reads a realm back and says in which points it is not what the template and its plan say.

Keycloak answers 204 to much that it does not do, and administrators' consoles change much that nobody wrote down.
Each finding is one sentence without any person's data.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from domain.organization import MfaPolicy
from identity.keycloak import Json, Realm
from identity.realms import MARKER, SERVICE_ACCOUNTS, UNUSED_CLIENTS, RealmPlan, representation

_FLOWS = ("browserFlow", "directGrantFlow", "firstBrokerLoginFlow")
# What Keycloak computes, or keeps somewhere else than the template says it.
_NOT_COMPARED = ("users", "clients", "clientScopes", "components", "requiredActions", "groups")
_OF_CLIENT = (
    "enabled",
    "publicClient",
    "bearerOnly",
    "standardFlowEnabled",
    "implicitFlowEnabled",
    "directAccessGrantsEnabled",
    "serviceAccountsEnabled",
    "fullScopeAllowed",
    "redirectUris",
    "webOrigins",
    "defaultClientScopes",
    "optionalClientScopes",
)


async def drift(realm: Realm, plan: RealmPlan) -> list[str]:
    """What differs. `realm` speaks as the master's provisioning client. Changes nothing."""
    wanted = representation(plan)
    clients = await realm.clients()
    held = await realm.composites(plan.default_role)
    flows = {alias: await realm.flow(alias) for alias in {wanted[name] for name in _FLOWS}}
    return [
        *_of_realm(wanted, await realm.read()),
        *_of_clients(wanted["clients"], clients),
        *_of_default_role(plan.mfa, held),
        *(finding for alias, parts in flows.items() for finding in _of_flow(wanted, alias, parts)),
        *(
            ["There are groups; rights could be handed on through them."]
            if await realm.groups()
            else []
        ),
        *await _of_rights(realm, wanted["users"], clients),
    ]


def _of_realm(wanted: Json, found: Json) -> Iterator[str]:
    for name, value in wanted.items():
        if isinstance(value, list | dict) or name in _NOT_COMPARED:
            continue
        if found.get(name) != value:
            yield f"The realm's {name} differs."
    for name, value in wanted["attributes"].items():
        if found.get("attributes", {}).get(name) != value:
            yield f"The realm's attribute {name} differs."


def _of_clients(wanted: list[Json], found: list[Json]) -> Iterator[str]:
    present = {client["clientId"]: client for client in found}
    for client in wanted:
        actual = present.pop(client["clientId"], None)
        if actual is None:
            yield f"The client {client['clientId']} is missing."
            continue
        for name in _OF_CLIENT:
            if name in client and _plain(actual.get(name)) != _plain(client[name]):
                yield f"The client {client['clientId']} differs in {name}."
        for name, value in client.get("attributes", {}).items():
            if actual.get("attributes", {}).get(name) != value:
                yield f"The client {client['clientId']} differs in its attribute {name}."
    present.pop("realm-management", None)
    for name, client in present.items():
        if name not in UNUSED_CLIENTS:
            yield f"There is a client {name} that the template does not have."
        elif client["enabled"]:
            yield f"The client {name} is enabled."


def _of_default_role(policy: MfaPolicy, held: list[Json]) -> Iterator[str]:
    wanted = {MARKER} if policy is MfaPolicy.ALL else set()
    if {role["name"] for role in held} != wanted:
        yield "The default role does not hold what the MFA policy says."


def _of_flow(wanted: Json, alias: str, found: list[Json]) -> Iterator[str]:
    flows = {
        flow["alias"]: flow["authenticationExecutions"] for flow in wanted["authenticationFlows"]
    }
    expected = list(_flattened(flows, alias, 0))
    actual = [
        (part["level"], part.get("providerId") or part.get("displayName"), part["requirement"])
        for part in found
    ]
    if actual != expected:
        yield f"The flow {alias} differs."


def _flattened(
    flows: dict[str, list[Json]], alias: str, level: int
) -> Iterator[tuple[int, str, str]]:
    for part in flows[alias]:
        name = part["flowAlias"] if part["authenticatorFlow"] else part["authenticator"]
        yield level, name, part["requirement"]
        if part["authenticatorFlow"]:
            yield from _flattened(flows, part["flowAlias"], level + 1)


async def _of_rights(realm: Realm, service_users: list[Json], clients: list[Json]) -> list[str]:
    """Whoever manages users reaches every right that a person or a group holds: only our two accounts hold any."""
    management = next(c["id"] for c in clients if c["clientId"] == "realm-management")
    intended = {
        f"service-account-{account}": set(user["clientRoles"]["realm-management"])
        for account, user in zip(SERVICE_ACCOUNTS, service_users, strict=True)
    }
    found: dict[str, set[str]] = {}
    for role in await realm.client_roles(management):
        for member in await realm.client_role_members(management, role["name"]):
            found.setdefault(member["username"], set()).add(role["name"])
    strangers = found.keys() - intended.keys()
    wrong = [name for name, roles in intended.items() if found.get(name, set()) != roles]
    return [
        *([f"{len(strangers)} users hold rights over the realm."] if strangers else []),
        *(f"{name} holds other rights than intended." for name in sorted(wrong)),
    ]


def _plain(value: Any) -> Any:
    """Lists of names without their order; absent and empty alike."""
    if isinstance(value, Iterable) and not isinstance(value, str | dict):
        return sorted(value)
    return value or False
