"""A realm for each health system, made from one template and kept as it says."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from domain.control import REALM_NAME
from domain.organization import MfaPolicy
from domain.second_factors import EVERY_METHOD, MfaMethod, enrolled_first
from identity.flow_trees import digests
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Conflict

TEMPLATE = Path(__file__).parent.parent / "keycloak-realms" / "realm-template.json"
TEMPLATE_VERSION = 4
LONGEST_SESSION = 86_400
SVC_IDENTITY = "svc-identity"
SVC_POLICY = "svc-policy"
SERVICE_ACCOUNTS = (SVC_IDENTITY, SVC_POLICY)
PORTAL = "portal"
ADMIN_PORTAL = "admin-portal"
AUDIENCE = "api"
MARKER = "mfa-required"
# Made by Keycloak in every realm; nobody logs in to them here.
UNUSED_CLIENTS = ("account", "account-console", "admin-cli", "security-admin-console")
_PLACEHOLDER = re.compile(r"@@([A-Z_]+)@@")


class RealmTaken(Exception):
    """A realm of the name exists and belongs to another health system. Nothing was changed."""


@dataclass(frozen=True)
class RealmPlan:
    """What a health system's realm shall be. Times are in seconds, URLs absolute.

    `mfa` is what the realm asks of everybody (`MfaRule.of_realm`), `methods` with which kinds of second factor.
    `otp_code_reusable` lets a one-time code serve twice, for scripted logins on a developer's machine.
    """

    name: str
    tenant_id: UUID
    mfa: MfaPolicy
    portal_redirects: tuple[str, ...]
    admin_redirects: tuple[str, ...]
    backchannel_logout: str
    secrets: Mapping[str, str] = field(repr=False)
    session_idle: int = 1800
    session_max: int = 36000
    otp_code_reusable: bool = False
    enabled: bool = True
    methods: tuple[MfaMethod, ...] = EVERY_METHOD

    def __post_init__(self) -> None:
        # Keycloak takes nearly any name, slashes and other realms' prefixes included.
        if not re.fullmatch(REALM_NAME, self.name):
            raise ValueError("A realm's name is o and at least 12 of 0-9 and a-z.")
        if not self.portal_redirects or not self.admin_redirects:
            raise ValueError("Each portal needs a redirect address.")
        if not 0 < self.session_idle <= self.session_max <= LONGEST_SESSION:
            raise ValueError("A session lasts a day at most, and its idle time is within that.")

    @property
    def default_role(self) -> str:
        """The role that every user of the realm holds."""
        return f"default-roles-{self.name}"


def representation(plan: RealmPlan) -> Json:
    """The template filled in for one health system: the body of the one POST that makes the realm."""
    values: dict[str, Any] = {
        "REALM": plan.name,
        "TENANT_ID": str(plan.tenant_id),
        "TEMPLATE_VERSION": str(TEMPLATE_VERSION),
        "SESSION_IDLE": plan.session_idle,
        "SESSION_MAX": plan.session_max,
        "OTP_CODE_REUSABLE": plan.otp_code_reusable,
        **_of_methods(plan.methods),
        "PORTAL_REDIRECT_URIS": list(plan.portal_redirects),
        "PORTAL_ORIGINS": _origins(plan.portal_redirects),
        "PORTAL_HOME": _homes(plan.portal_redirects),
        "ADMIN_REDIRECT_URIS": list(plan.admin_redirects),
        "ADMIN_ORIGINS": _origins(plan.admin_redirects),
        "ADMIN_HOME": _homes(plan.admin_redirects),
        "BACKCHANNEL_LOGOUT_URL": plan.backchannel_logout,
        "SVC_IDENTITY_SECRET": plan.secrets[SVC_IDENTITY],
        "SVC_POLICY_SECRET": plan.secrets[SVC_POLICY],
    }
    filled: Json = _filled(template(), values)
    attributes = {**filled["attributes"], **digests(filled)}
    return {**filled, "enabled": plan.enabled, "attributes": attributes}


def logins(methods: tuple[MfaMethod, ...]) -> Json:
    """The part of the representation that depends on the kinds of second factor alone."""
    parts = ("authenticationFlows", "authenticatorConfig", "requiredActions")
    filled: Json = _filled({name: template()[name] for name in parts}, _of_methods(methods))
    return filled


def _of_methods(methods: tuple[MfaMethod, ...]) -> Mapping[str, Any]:
    """Each kind may be shown and set up or is switched off; a login has people set up the first that can be."""
    values: dict[str, Any] = {}
    for method in MfaMethod:
        name = method.name
        values[name] = "ALTERNATIVE" if method in methods else "DISABLED"
        values[f"{name}_ALLOWED"] = method in methods
        first = method is enrolled_first(methods)
        values[f"ENROL_{name}"] = "REQUIRED" if first else "DISABLED"
    return values


@cache
def template() -> Json:
    """The committed template with its placeholders."""
    read: Json = json.loads(TEMPLATE.read_text("utf-8"))
    return read


def _filled(node: Any, values: Mapping[str, Any]) -> Any:
    """A string that is one placeholder becomes its value of whatever type; inside a string it becomes text."""
    if isinstance(node, dict):
        return {_filled(key, values): _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(item, values) for item in node]
    if not isinstance(node, str):
        return node
    if whole := _PLACEHOLDER.fullmatch(node):
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), node)


def _origins(redirects: tuple[str, ...]) -> list[str]:
    parts = [urlsplit(uri) for uri in redirects]
    return list(dict.fromkeys(f"{p.scheme}://{p.netloc}" for p in parts))


def _homes(redirects: tuple[str, ...]) -> str:
    """Where a browser may be sent after logout; Keycloak separates several by ##."""
    return "##".join(f"{origin}/" for origin in _origins(redirects))


async def provision(realm: Realm, plan: RealmPlan) -> bool:
    """Make the realm, or finish one that an earlier run left half-made; answer whether it was made now.

    `realm` speaks as the master's provisioning client. Safe to repeat: every step compares before it changes.
    Raises RealmTaken where the realm is another health system's, KeycloakFailure for what Keycloak refuses.
    """
    try:
        await realm.create(representation(plan))
        made = True
    except Conflict:
        made = False
    if (await realm.read()).get("attributes", {}).get("tenant_id") != str(plan.tenant_id):
        raise RealmTaken(f"Realm {plan.name} belongs to another health system.")
    await _disable_unused_clients(realm)
    await apply_mfa_policy(realm, plan.mfa)
    return made


async def apply_mfa_policy(realm: Realm, policy: MfaPolicy) -> None:
    """Let the default role hold exactly what the policy asks: the marker under `all`, else nothing.

    Under `admins` the worker gives the marker to single users. Keycloak adds rights of its own to the default
    role of a new realm (offline access, the account console); this takes them out as well.
    """
    default = f"default-roles-{realm.name}"
    held = await realm.composites(default)
    wanted = {MARKER} if policy is MfaPolicy.ALL else set()
    surplus = [role for role in held if role["clientRole"] or role["name"] not in wanted]
    if surplus:
        await realm.remove_composites(default, surplus)
    if wanted - {role["name"] for role in held}:
        await realm.add_composites(default, [await realm.role(MARKER)])


async def apply_session_limits(realm: Realm, idle: int, longest: int) -> None:
    """Let logins last so many seconds without use, and at the most."""
    limits = {
        "ssoSessionIdleTimeout": idle,
        "ssoSessionMaxLifespan": longest,
        "clientSessionIdleTimeout": idle,
        "clientSessionMaxLifespan": longest,
    }
    found = await realm.read()
    if any(found.get(name) != seconds for name, seconds in limits.items()):
        await realm.update(limits, found)


async def _disable_unused_clients(realm: Realm) -> None:
    for client in await realm.clients():
        if client["clientId"] in UNUSED_CLIENTS and client["enabled"]:
            await realm.update_client({**client, "enabled": False})
