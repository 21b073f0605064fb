"""The settings under which PostgreSQL's row-level security shows and takes rows, made from the same predicates."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from uuid import UUID

from authz.actor import Actor
from authz.scope import union
from authz.templates import Policy, PolicyError

WRITES = MappingProxyType({"payment": "posting"})
"""A resource without a table of its own -> the resource whose table takes its rows."""

Settings = tuple[tuple[str, str], ...]


def placed(policy: Policy) -> tuple[str, ...]:
    """The resources whose tables row-level security opens by place."""
    return tuple(
        name.removesuffix(":read")
        for name, template in sorted(policy.permissions.items())
        if name.endswith(":read") and template.reach.placed
    )


def settings_for(
    actor: Actor,
    resources: Iterable[str] | None = None,
    write: Mapping[str, Iterable[str]] | None = None,
    places: Iterable[tuple[str, UUID]] = (),
) -> Settings:
    """Pairs for `set_config(…, true)`: the tenant, and the scopes of reading and writing placed tables.

    `resources`: those to be read, by default every placed one. `write`: the resource whose table is written ->
    the permissions (`payment:record`) that the command was allowed. What is not named stays closed. `places`:
    resources of which only rows at or below a node are asked for. Fewer places can only show fewer rows, and the
    server reads a list of ids at each use of a table: 0.3 µs an id.
    """
    wanted = None if resources is None else frozenset(resources)
    kept: dict[frozenset[str] | None, Settings] = actor.__dict__.setdefault("settings", {})
    settings = kept.get(wanted)
    if settings is None:
        settings = kept[wanted] = _reading(actor, wanted)
    nodes = dict(places)
    for place in nodes.items():
        settings = tuple(_narrowed(actor, name, value, *place) for name, value in settings)
    if write:
        known = placed(actor.policy)
        settings += tuple(
            (f"app.write_{resource}", _written(actor, resource, permissions, nodes))
            for resource, permissions in sorted(write.items())
            if resource in known
        )
    return settings


def _reading(actor: Actor, resources: frozenset[str] | None) -> Settings:
    """The tenant and the scopes of reading; an actor never changes, so it is made once for each set."""
    scopes = (
        (f"app.scope_{resource}", actor.predicate(resource, "read").scope.literal())
        for resource in placed(actor.policy)
        if resources is None or resource in resources
    )
    return (("app.tenant", str(actor.tenant_id)), *scopes)


def _narrowed(actor: Actor, name: str, value: str, resource: str, node: UUID) -> tuple[str, str]:
    """One setting, cut to a node where it lists places: `*` costs nothing and stays."""
    if name != f"app.scope_{resource}" or value == "*":
        return name, value
    return name, actor.predicate(resource, "read").scope.within(actor.tree, node).literal()


def split(permission: str) -> tuple[str, str]:
    """`encounter:start` as (resource, action). Raises PolicyError for anything else."""
    resource, colon, action = permission.partition(":")
    if not (resource and colon and action):
        raise PolicyError(f"{permission!r} is no permission")
    return resource, action


def _written(
    actor: Actor, resource: str, permissions: Iterable[str], nodes: Mapping[str, UUID]
) -> str:
    predicates = [actor.predicate(*split(p)) for p in permissions]
    if any(not p.reach.placed for p in predicates):
        raise PolicyError("only a permission over placed rows opens a placed table")
    units = actor.tree.units
    scope = union(
        (p.scope for p in predicates), lambda u: units[u].clinic_id if u in units else None
    )
    if resource in nodes:
        scope = scope.within(actor.tree, nodes[resource])
    return scope.literal()
