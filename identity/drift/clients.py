"""The realm's clients: those of the template as it says, Keycloak's own disabled, none beside them."""

from collections.abc import Iterator
from functools import partial

from identity.drift.difference import Difference, by, lacks, plain
from identity.drift.scopes import attach, of_mappers
from identity.keycloak import Json, Realm
from identity.realms import UNUSED_CLIENTS

_MANAGEMENT = "realm-management"
_SCOPES = {
    "defaultClientScopes": "default-client-scopes",
    "optionalClientScopes": "optional-client-scopes",
}
# Compared elsewhere, or never shown.
_APART = {"attributes", "secret", "protocolMappers", *_SCOPES}


def of_clients(realm: Realm, wanted: list[Json], found: Json) -> Iterator[Difference]:
    """What differs at the clients; their secrets are masked and not compared."""
    present = by("clientId", found["clients"])
    ids = {scope["name"]: scope["id"] for scope in found["clientScopes"]}
    for client in wanted:
        name, there = client["clientId"], present.pop(client["clientId"], None)
        if there is None:
            mend = partial(realm.post, "clients", client)
            yield Difference(f"The client {name} is missing.", mend)
        else:
            yield from _of_client(realm, client, there, ids)
    present.pop(_MANAGEMENT, None)
    for name, there in present.items():
        if name not in UNUSED_CLIENTS:
            mend = partial(realm.remove, f"clients/{there['id']}")
            yield Difference(f"There is a client {name} that the template does not have.", mend)
        elif there["enabled"]:
            mend = partial(_change, realm, there, {"enabled": False})
            yield Difference(f"The client {name} is enabled.", mend)


def _of_client(
    realm: Realm, wanted: Json, found: Json, ids: dict[str, str]
) -> Iterator[Difference]:
    name, path = wanted["clientId"], f"clients/{found['id']}"
    for field in lacks({k: v for k, v in wanted.items() if k not in _APART}, found):
        mend = partial(_change, realm, found, {field: wanted[field]})
        yield Difference(f"The client {name} differs in {field}.", mend)
    for field, value in wanted.get("attributes", {}).items():
        if found.get("attributes", {}).get(field) != value:
            mend = partial(_change, realm, found, {"attributes": {field: value}})
            yield Difference(f"The client {name} differs in its attribute {field}.", mend)
    for field, place in _SCOPES.items():
        if field in wanted and plain(wanted[field]) != plain(found.get(field)):
            due, there = set(wanted[field]), set(found.get(field, []))
            mend = partial(attach, realm, f"{path}/{place}", ids, due, there)
            yield Difference(f"The client {name} differs in {field}.", mend)
    yield from of_mappers(realm, f"client {name}", path, wanted.get("protocolMappers", []), found)


async def _change(realm: Realm, client: Json, values: Json) -> None:
    """Change a client's settings as they are by now; the masked secret of the export is not written back."""
    present = await realm.get(f"clients/{client['id']}")
    attributes = {**present.get("attributes", {}), **values.get("attributes", {})}
    await realm.put(f"clients/{client['id']}", {**present, **values, "attributes": attributes})
