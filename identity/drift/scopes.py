"""Realm roles, client scopes with their mappers, and which scopes every client has."""

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from identity.drift.difference import Difference, by, lacks, plain
from identity.keycloak import Json, Realm

# Made by Keycloak in every realm; nobody holds them here, and no client asks for them.
_KEYCLOAKS_ROLES = {"offline_access", "uma_authorization"}
_KEYCLOAKS_SCOPES = {"offline_access"}


def of_roles(realm: Realm, wanted: list[Json], found: list[Json]) -> Iterator[Difference]:
    """Realm roles: those of the template and none beside them."""
    present = by("name", found)
    for role in wanted:
        name = role["name"]
        if name not in present:
            yield Difference(f"The role {name} is missing.", partial(realm.post, "roles", role))
    for name in present.keys() - by("name", wanted).keys() - _KEYCLOAKS_ROLES:
        mend = partial(realm.remove, f"roles/{quote(name, safe='')}")
        yield Difference(f"There is a role {name} that the template does not have.", mend)


def of_scopes(realm: Realm, wanted: list[Json], found: list[Json]) -> Iterator[Difference]:
    """Client scopes: those of the template with exactly its mappers."""
    present = by("name", found)
    for scope in wanted:
        name, there = scope["name"], present.get(scope["name"])
        if there is None:
            mend = partial(realm.post, "client-scopes", scope)
            yield Difference(f"The client scope {name} is missing.", mend)
            continue
        path = f"client-scopes/{there['id']}"
        if lacks(scope["attributes"], there.get("attributes", {})):
            body = {**there, "attributes": {**there.get("attributes", {}), **scope["attributes"]}}
            mend = partial(realm.put, path, body)
            yield Difference(f"The client scope {name} differs in its attributes.", mend)
        yield from of_mappers(
            realm, f"client scope {name}", path, scope.get("protocolMappers", []), there
        )
    for name in present.keys() - by("name", wanted).keys() - _KEYCLOAKS_SCOPES:
        mend = partial(realm.remove, f"client-scopes/{present[name]['id']}")
        yield Difference(f"There is a client scope {name} that the template does not have.", mend)


def of_mappers(
    realm: Realm, owner: str, path: str, wanted: list[Json], holder: Json
) -> Iterator[Difference]:
    """What a scope or a client writes into tokens, mapper by mapper."""
    models = f"{path}/protocol-mappers/models"
    present = by("name", holder.get("protocolMappers", []))
    for one in wanted:
        mapper = {**one, "config": _completed(one["config"])}
        name, there = mapper["name"], present.get(mapper["name"])
        if there is None:
            mend = partial(realm.post, models, mapper)
            yield Difference(f"The {owner} lacks the mapper {name}.", mend)
        elif (there["protocolMapper"], there["config"]) != (
            mapper["protocolMapper"],
            mapper["config"],
        ):
            mend = partial(_replace, realm, models, there["id"], mapper)
            yield Difference(f"The {owner} has another mapper {name}.", mend)
    for name in present.keys() - by("name", wanted).keys():
        mend = partial(realm.remove, f"{models}/{present[name]['id']}")
        yield Difference(f"The {owner} has a mapper {name} that the template does not have.", mend)


def _completed(config: Json) -> Json:
    """A new realm writes into userinfo what goes into ID tokens, unless it is told not to; a mapper made later does not."""
    said = config.get("id.token.claim")
    return config if said != "true" else {"userinfo.token.claim": said, **config}


async def _replace(realm: Realm, models: str, mapper_id: str, mapper: Json) -> None:
    """Changing one leaves settings behind that it no longer has, so it is made anew."""
    await realm.remove(f"{models}/{mapper_id}")
    await realm.post(models, mapper)


def of_defaults(realm: Realm, wanted: Json, found: Json) -> Iterator[Difference]:
    """The scopes that every new client is given."""
    kinds = {"defaultDefaultClientScopes": "default-default-client-scopes"}
    ids = {scope["name"]: scope["id"] for scope in found["clientScopes"]}
    for name, path in kinds.items():
        due, there = set(wanted[name]), set(found.get(name, []))
        if plain(sorted(due)) != plain(sorted(there)):
            mend = partial(attach, realm, path, ids, due, there)
            yield Difference(f"The realm's {name} differ.", mend)


async def attach(
    realm: Realm, path: str, ids: dict[str, str], wanted: set[str], found: set[str]
) -> None:
    """Let exactly these scopes be attached at a path; one that is not made yet is left for the next round."""
    for name in sorted(found - wanted):
        await realm.remove(f"{path}/{ids[name]}")
    for name in sorted((wanted - found) & ids.keys()):
        await realm.put(f"{path}/{ids[name]}", {})
