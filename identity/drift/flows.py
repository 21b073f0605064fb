"""Authentication flows: compared part by part, and replaced as a whole where they differ.

A flow in use is never changed: a half-changed one would let people in by less than the template asks. A second one is
made beside it and put in its place, the first is made anew under its own name and takes its place back. Cut off
anywhere, logins go by a whole flow, and the next repair begins where the realm stands.
"""

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from identity.drift.difference import Difference, by
from identity.drift.settings import set_attribute
from identity.flow_trees import PREFIX, alike, digest, tops, tree
from identity.keycloak import Json, Realm

_NEXT = " next"
_OF_REALM = (
    "browserFlow",
    "registrationFlow",
    "directGrantFlow",
    "resetCredentialsFlow",
    "clientAuthenticationFlow",
    "dockerAuthenticationFlow",
    "firstBrokerLoginFlow",
)
_OF_PROVIDER = ("firstBrokerLoginFlowAlias", "postBrokerLoginFlowAlias")


def of_flows(realm: Realm, wanted: Json, found: Json) -> Iterator[Difference]:
    """Flows of the template that are missing or other, and flows beside them that nothing uses."""
    flows = by("alias", found["authenticationFlows"])
    told = found.get("attributes", {})
    bound = {found.get(name) for name in _OF_REALM}
    bound |= {p.get(name) for p in found.get("identityProviders", []) for name in _OF_PROVIDER}
    for alias in tops(wanted):
        made_of = told.get(PREFIX + alias) == digest(wanted, alias)
        if alias not in flows:
            said = f"The flow {alias} is missing."
        elif not made_of or not alike(tree(wanted, alias), tree(found, alias)):
            said = f"The flow {alias} differs."
        elif alias + _NEXT in flows:
            said = f"The flow {alias} was being replaced."
        else:
            continue
        yield Difference(said, partial(_replace, realm, wanted, alias))
    for alias, flow in flows.items():
        strange = (
            flow["topLevel"]
            and not flow["builtIn"]
            and alias.removesuffix(_NEXT) not in tops(wanted)
        )
        if strange and alias not in bound:
            mend = partial(realm.remove, f"authentication/flows/{flow['id']}")
            yield Difference(f"There is a flow {alias} that the template does not have.", mend)


async def _replace(realm: Realm, wanted: Json, alias: str) -> None:
    beside = alias + _NEXT
    there = {flow["alias"]: flow["id"] for flow in await realm.get("authentication/flows")}
    if alias in there:
        if not await _uses(realm, beside):
            if beside in there:
                await realm.remove(f"authentication/flows/{there[beside]}")
            there[beside] = await _build(realm, wanted, alias, _NEXT)
            await _move(realm, alias, beside)
        await realm.remove(f"authentication/flows/{there[alias]}")
    await _build(realm, wanted, alias, "")
    if beside in there:
        await _move(realm, beside, alias)
        await realm.remove(f"authentication/flows/{there[beside]}")
    await set_attribute(realm, PREFIX + alias, digest(wanted, alias))


async def _uses(realm: Realm, alias: str) -> bool:
    read = await realm.read()
    providers = await realm.get("identity-provider/instances")
    return any(read.get(name) == alias for name in _OF_REALM) or any(
        provider.get(name) == alias for provider in providers for name in _OF_PROVIDER
    )


async def _move(realm: Realm, one: str, other: str) -> None:
    """Let the realm and its identity providers use the other flow wherever they use the one."""
    read = await realm.read()
    bound = {name: other for name in _OF_REALM if read.get(name) == one}
    if bound:
        await realm.update(bound)
    for provider in await realm.get("identity-provider/instances"):
        moved = {name: other for name in _OF_PROVIDER if provider.get(name) == one}
        if moved:
            await realm.update_provider({**provider, **moved})


async def _build(realm: Realm, wanted: Json, alias: str, suffix: str) -> str:
    """Make the flow with all its parts, each name with the suffix; answer its id."""
    flows = by("alias", wanted["authenticationFlows"])
    configs = by("alias", wanted["authenticatorConfig"])
    told = {k: v for k, v in flows[alias].items() if k != "authenticationExecutions"}
    await realm.post("authentication/flows", {**told, "alias": alias + suffix})
    order: list[Json] = []
    await _fill(realm, flows, alias, suffix, order)
    path = f"authentication/flows/{quote(alias + suffix, safe='')}/executions"
    for part, made in zip(order, await realm.get(path), strict=True):
        await realm.put(path, {**made, "requirement": part["requirement"]})
        config = configs.get(part.get("authenticatorConfig", ""))
        if config is not None:
            body = _renamed(config, suffix)
            await realm.post(f"authentication/executions/{made['id']}/config", body)
    made_flows = await realm.get("authentication/flows")
    return next(str(f["id"]) for f in made_flows if f["alias"] == alias + suffix)


async def _fill(
    realm: Realm, flows: dict[str, Json], alias: str, suffix: str, order: list[Json]
) -> None:
    path = f"authentication/flows/{quote(alias + suffix, safe='')}/executions"
    for part in flows[alias]["authenticationExecutions"]:
        order.append(part)
        name = part.get("flowAlias")
        if name is None:
            await realm.post(f"{path}/execution", {"provider": part["authenticator"]})
            continue
        told = {
            "alias": name + suffix,
            "type": flows[name]["providerId"],
            "description": flows[name].get("description", ""),
        }
        await realm.post(f"{path}/flow", told)
        await _fill(realm, flows, name, suffix, order)


def _renamed(config: Json, suffix: str) -> Json:
    """Settings under the suffix; those that name a flow name the one with the suffix."""
    values = config["config"]
    if "flow_to_check" in values:
        values = {**values, "flow_to_check": values["flow_to_check"] + suffix}
    return {"alias": config["alias"] + suffix, "config": values}
