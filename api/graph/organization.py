"""The tree of the health system, readable to all who work in it."""

from typing import Any, Optional

import strawberry
from sqlalchemy import case, select
from sqlalchemy import literal_column as raw

from api.graph.relay import Info, Node, root
from api.plan.fetch import listed
from api.plan.mapping import column, computed, enum_name, joined, one, parse_id, table
from domain.organization import Level
from domain.organization import OrgUnit as OrgUnits

DEPTH: dict[Any, Any] = {
    raw(f"'{level.value}'"): raw(str(depth)) for depth, level in enumerate(Level)
}
strawberry.enum(Level, name="OrgUnitLevel", description="The four levels of the tree.")


@table(OrgUnits, description="A node of the tree: health system, region, clinic or department.")
class OrgUnit(Node):
    name: str | None = column("read", "What people call it.")
    level: Level | None = computed(
        "read", "Where in the tree it stands.", lambda unit, *_: enum_name(unit.level)
    )
    zone: str | None = column("read", "IANA time zone of a clinic.")
    active: bool | None = column("read", "False once it was closed; its records stay readable.")
    version: int | None = column("read", "Rises with every change.")

    @one("read", joined("id", "parent_id"))
    def parent(self) -> Optional["OrgUnit"]:
        """The node above; null for the health system itself."""


unit_of = joined("id", "unit_id")
clinic_of = joined("id", "clinic_id")


def node_argument(info: Info, node: strawberry.ID | None) -> tuple[bool, Any]:
    """Read a `node` argument: (it can be there, its id). A unit of another tenant is not there."""
    if node is None:
        return True, None
    parsed = parse_id(node, "OrgUnit")
    if parsed is None or parsed[1] not in info.context.actor.tree.units:
        return False, None
    return True, parsed[1]


@strawberry.type
class Query:
    @root(
        "org_unit:read",
        "The whole tree: every unit of your health system, parents before children.",
    )
    async def organization(self, info: Info) -> list[OrgUnit] | None:
        return await listed(
            info._raw_info,
            OrgUnit,
            rows=lambda _c, unit: select(unit),
            order=lambda unit: [case(DEPTH, value=unit.level), unit.name, unit.id],
        )
