"""The realm's own settings, its required actions, its user profile and its keys."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

from identity.drift.difference import Difference, by, lacks, plain
from identity.flow_trees import PREFIX
from identity.keycloak import Json, Realm

_LISTS = ("eventsListeners", "enabledEventTypes")
_PROFILE = "org.keycloak.userprofile.UserProfileProvider"
_DOCUMENT = "kc.user.profile.config"
_KEYS = "org.keycloak.keys.KeyProvider"


def of_realm(realm: Realm, wanted: Json, found: Json, last: set[str]) -> Iterator[Difference]:
    """Top-level settings, each by itself; attributes whose names are in `last` come last."""
    for name, value in wanted.items():
        if isinstance(value, dict) or (isinstance(value, list) and name not in _LISTS):
            continue
        if plain(found.get(name)) != plain(value):
            yield Difference(f"The realm's {name} differs.", partial(realm.update, {name: value}))
    for name, value in wanted["attributes"].items():
        if name.startswith(PREFIX):
            continue  # with its flow
        if found.get("attributes", {}).get(name) != value:
            mend = partial(set_attribute, realm, name, value)
            yield Difference(f"The realm's attribute {name} differs.", mend, name in last)


async def set_attribute(realm: Realm, name: str, value: str) -> None:
    """Set one attribute of the realm and leave the others."""
    found = await realm.read()
    await realm.update({"attributes": {**found.get("attributes", {}), name: value}}, found)


def of_parts(realm: Realm, wanted: Json, found: Json) -> Iterator[Difference]:
    """What users may be asked to do, what is kept of them, and what the realm signs with."""
    present = by("alias", found["requiredActions"])
    for action in wanted["requiredActions"]:
        alias = action["alias"]
        if alias not in present:
            mend = partial(_register, realm, action)
            yield Difference(f"The required action {alias} is missing.", mend)
        elif lacks(action, present[alias]):
            path = f"authentication/required-actions/{quote(alias, safe='')}"
            mend = partial(realm.put, path, {**present[alias], **action})
            yield Difference(f"The required action {alias} differs.", mend)
    for kind, components in wanted["components"].items():
        yield from _of_components(realm, kind, components, found["components"].get(kind, []))


async def _register(realm: Realm, action: Json) -> None:
    told = {"providerId": action["providerId"], "name": action["name"]}
    await realm.post("authentication/register-required-action", told)


def _of_components(
    realm: Realm, kind: str, wanted: list[Json], found: list[Json]
) -> Iterator[Difference]:
    present = {one.get("name") if kind == _KEYS else one["providerId"]: one for one in found}
    for one in wanted:
        name = one["name"] if kind == _KEYS else one["providerId"]
        there = present.get(name)
        if there is None:
            body = {**one, "providerType": kind}
            yield Difference(
                f"The component {name} is missing.", partial(realm.post, "components", body)
            )
        elif kind == _PROFILE and _document(there) != _document(one):
            body = json.loads(one["config"][_DOCUMENT][0])
            yield Difference("The user profile differs.", partial(realm.put, "users/profile", body))
        elif kind != _PROFILE and lacks(one["config"], there["config"]):
            told = {k: v for k, v in there.items() if k != "subComponents"}  # of exports only
            body = {**told, "providerType": kind, "config": {**there["config"], **one["config"]}}
            mend = partial(realm.put, f"components/{there['id']}", body)
            yield Difference(f"The component {name} differs.", mend)


def _document(component: Json) -> Any:
    """The user profile, without groups where there are none."""
    read = json.loads(component["config"][_DOCUMENT][0])
    return {**read, "groups": read.get("groups", [])}
