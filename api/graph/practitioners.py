"""Practitioners, and the rooms and devices that an appointment can block."""

from typing import Annotated, Any, Optional

import strawberry
from sqlalchemy import Select, exists, func, or_, select

from api.graph.organization import OrgUnit, node_argument
from api.graph.relay import After, Connection, First, Info, Node, Within, root
from api.plan.fetch import listed, page
from api.plan.mapping import column, computed, enum_name, joined, many, one, parse_id, table
from api.plan.page import Listing
from domain.practitioners import BookableResource as BookableResources
from domain.practitioners import Practitioner as Practitioners
from domain.practitioners import ResourceAssignment, ResourceKind

strawberry.enum(ResourceKind, name="ResourceKind", description="What can be booked.")
LISTING = Listing(Practitioners, "practitioner", "family_name", Practitioners)


@table(Practitioners, description="Somebody who treats patients (FHIR Practitioner).")
class Practitioner(Node):
    given_name: str | None = column("read", "Given names.")
    family_name: str | None = column("read", "Family name.")
    specialty: str | None = column("read", "What they practise.")
    active: bool | None = column("read", "False once they have left.")
    version: int | None = column("read", "Rises with every change.")


practitioner_of = joined("id", "practitioner_id")


def _places(up: Any, unit: Any, get_: Any) -> Select[Any]:
    """The units of its assignments that have not ended."""
    place = get_.compiler.alias(ResourceAssignment)
    return (
        select(unit)
        .join(place, (place.tenant_id == unit.tenant_id) & (place.unit_id == unit.id))
        .where(
            unit.tenant_id == up.tenant_id,
            place.resource_id == up.id,
            get_.compiler.policy(place, "assignment", "read"),
            or_(place.valid_until.is_(None), place.valid_until > func.now()),
        )
    )


@table(BookableResources, description="Something that can be in one place at a time.")
class BookableResource(Node):
    name: str | None = column("read", "What people call it.")
    kind: ResourceKind | None = computed(
        "read", "Practitioner, room or device.", lambda resource, *_: enum_name(resource.kind)
    )
    active: bool | None = column("read", "Whether it can be booked.")
    version: int | None = column("read", "Rises with every change.")

    @one("read", practitioner_of)
    def practitioner(self) -> Optional["Practitioner"]:
        """Who it is, where it is a practitioner's time."""

    @many("read", _places, group=None, order=lambda unit: [unit.name, unit.id])
    def units(self, first: First = 50) -> list[OrgUnit] | None:
        """Where it can be booked, now or later."""


def _assigned(c: Any, resource: Any, units: Any) -> Any:
    """Whether the resource is assigned to one of the units, now or later."""
    place = c.alias(ResourceAssignment)
    return exists(
        select(place.resource_id)
        .where(
            place.tenant_id == c.tenant(),
            place.resource_id == resource.id,
            place.unit_id == func.any(units),
            or_(place.valid_until.is_(None), place.valid_until > func.now()),
        )
        .correlate(resource)
    )


@strawberry.type
class Query:
    @root(
        "practitioner:read",
        "Practitioners by family name; with `node`, those assigned at it or below.",
    )
    async def practitioners(
        self,
        info: Info,
        node: Within = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Practitioner] | None:
        known, unit = node_argument(info, node)
        if not known:
            return None
        below = info.context.actor.tree.nodes_under(unit) if unit else None
        return await page(
            info._raw_info,
            LISTING,
            node=None,
            first=first,
            after=after,
            filters=lambda row, c, _: (
                [] if below is None else [_assigned(c, row, c.binds.units("units"))]
            ),
            values={"units": below},
        )

    @root(
        "practitioner:read", "Everything that can be booked at a clinic or one of its departments."
    )
    async def bookable_resources(
        self,
        info: Info,
        clinic: Annotated[
            strawberry.ID, strawberry.argument(description="The clinic or department.")
        ],
    ) -> list[BookableResource] | None:
        known, unit = node_argument(info, clinic)
        parsed = parse_id(clinic, "OrgUnit")
        if not known or parsed is None:
            return None
        return await listed(
            info._raw_info,
            BookableResource,
            rows=lambda c, row: select(row).where(_assigned(c, row, c.binds.units("units"))),
            order=lambda row: [row.kind, row.name, row.id],
            values={"units": info.context.actor.tree.nodes_under(unit)},
        )
