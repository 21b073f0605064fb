"""What an authentication flow consists of, and its digest, which a realm keeps as an attribute.

Keycloak masks settings of a flow's parts that it does not know itself (what makes `amr`, for one) whatever way they
are read. So a realm says of each flow from which text it was made, and the rest is compared as far as it is shown.
"""

import hashlib
from typing import Any

import orjson

from identity.keycloak import Json

MASK = "**********"
PREFIX = "flow."
"""Of the attributes that hold digests; the flow's name follows."""


def tops(realm: Json) -> list[str]:
    """The flows of a representation that are not part of another."""
    return [flow["alias"] for flow in realm["authenticationFlows"] if flow["topLevel"]]


def tree(realm: Json, alias: str) -> list[Any]:
    """A flow's parts in order: [what, how strictly, with which settings, its own parts where it is a flow]."""
    flows = {flow["alias"]: flow for flow in realm["authenticationFlows"]}
    configs = {config["alias"]: config["config"] for config in realm["authenticatorConfig"]}

    def parts(name: str) -> list[Any]:
        order = sorted(flows[name]["authenticationExecutions"], key=lambda part: part["priority"])
        return [
            [
                part.get("flowAlias") or part["authenticator"],
                part["requirement"],
                configs.get(part.get("authenticatorConfig", ""), {}),
                parts(part["flowAlias"]) if part.get("flowAlias") else None,
            ]
            for part in order
        ]

    return parts(alias)


def digest(realm: Json, alias: str) -> str:
    """Of all that the flow consists of."""
    said = orjson.dumps(tree(realm, alias), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()


def digests(realm: Json) -> dict[str, str]:
    """The attributes that say from what each flow was made."""
    return {PREFIX + alias: digest(realm, alias) for alias in tops(realm)}


def alike(wanted: Any, found: Any) -> bool:
    """Whether two trees are the same, as far as the found one is shown."""
    if isinstance(wanted, dict):
        return wanted.keys() == found.keys() and all(
            found[name] in (value, MASK) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(alike, wanted, found))
    return bool(wanted == found)
