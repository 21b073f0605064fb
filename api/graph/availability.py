"""Open slots of a clinic: over practitioners, rooms and devices, services and days of its own time."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
import strawberry
from graphql import GraphQLObjectType, GraphQLResolveInfo, get_named_type

from api.context import Context
from api.graph.encounters import local_id
from api.graph.organization import node_argument
from api.graph.relay import Info, root, value_type
from api.plan.binds import encode
from api.plan.fetch import response_path
from api.plan.mapping import FieldGroup, parse_id
from api.plan.payloads import compiler_of, finished
from domain.errors import Invalid
from domain.pipeline import Statement
from domain.practitioners import ResourceKind
from domain.schedules.free_times import SQL, FreeTimes, Resource, instants, parameters, read

READ = "schedule:read"
DAYS = 31
NAMED = 50
ID_OF = dict.fromkeys(ResourceKind, "BookableResource") | {
    ResourceKind.PRACTITIONER: "Practitioner"
}
"""Booking takes a practitioner by their own id, which their resource has as well."""
Ids = list[strawberry.ID]


@value_type("A time at which a visit can be booked.")
class OpenSlot:
    starts_at: dt.datetime = strawberry.field(description="When it would begin.")
    ends_at: dt.datetime = strawberry.field(description="When it would end.")


@value_type("When a practitioner, room or device can be booked.")
class Availability:
    resource: strawberry.ID = strawberry.field(
        description="The practitioner, or the room or device: the id that booking asks for."
    )
    name: str = strawberry.field(description="What people call it.")
    kind: ResourceKind = strawberry.field(description="Practitioner, room or device.")
    has_rules: bool = strawberry.field(
        description="False where no rule says when: then any free time can be booked."
    )
    slots: list[OpenSlot] = strawberry.field(description="The open slots, in their order.")


async def free_times(
    context: Context,
    unit: uuid.UUID,
    resources: Sequence[uuid.UUID] | None,
    service: uuid.UUID | None,
    days: tuple[dt.date, dt.date],
) -> FreeTimes | None:
    """Ask when resources of a unit are open and taken; None where the asker may not know. One statement."""
    actor = context.actor
    row = await context.read(
        frozenset({"schedule"}),
        Statement(
            SQL,
            [
                encode(value)
                for value in parameters(
                    actor.tenant_id, unit, resources, service, days, dt.datetime.now(dt.UTC)
                )
            ],
        ),
        "page",
    )
    return None if row is None or row[0] is None else read(orjson.loads(row[0]))


def may_read(context: Context, unit: uuid.UUID) -> bool:
    """Whether the asker reads the opening hours of the unit."""
    node = context.actor.tree.units[unit]
    scope = context.actor.predicate(*READ.split(":")).scope
    return node.clinic_id is not None and scope.covers(node.clinic_id, unit)


def ids_of(values: Ids | None) -> list[uuid.UUID] | None:
    """Resources by id, practitioners among them. Raises Invalid for too many; unknown ones are left out."""
    if values is None:
        return None
    if len(values) > NAMED:
        raise Invalid(f"At most {NAMED} resources.", path=("resources",))
    both = (parse_id(v, kind) for v in values for kind in ("BookableResource", "Practitioner"))
    return [found[1] for found in both if found is not None]


def written(info: GraphQLResolveInfo[Any], rows: list[tuple[Resource, list[Any]]]) -> Any:
    """The selected fields of each resource and slot, as finished JSON."""
    c, details = compiler_of(info)
    type_, slot_type = get_named_type(info.return_type), info.schema.get_type("OpenSlot")
    assert isinstance(type_, GraphQLObjectType)
    assert isinstance(slot_type, GraphQLObjectType)
    fields = list(c.fields(type_, details))
    inner = {
        response: [(r, name) for r, _, name in c.fields(slot_type, found)]
        for response, found, name in fields
        if name == "slots"
    }
    out = []
    for resource, slots in rows:
        plain = {
            "__typename": type_.name,
            "resource": f"{ID_OF[ResourceKind(resource.kind)]}:{resource.id}",
            "name": resource.name,
            "kind": resource.kind.upper(),
            "hasRules": resource.ruled,
        }
        out.append(
            {
                response: _slots(inner[response], slots) if name == "slots" else plain[name]
                for response, _, name in fields
            }
        )
    return finished(orjson.dumps(out))


def _slots(names: list[tuple[str, str]], slots: list[Any]) -> list[dict[str, Any]]:
    made = (
        {"startsAt": begins, "endsAt": ends, "__typename": "OpenSlot"} for begins, ends in slots
    )
    return [{response: slot[name] for response, name in names} for slot in made]


@strawberry.type
class Query:
    @root(
        READ,
        "Open slots of the resources that are booked at a clinic or department, in the days of its own time.",
    )
    async def availability(
        self,
        info: Info,
        clinic: Annotated[
            strawberry.ID, strawberry.argument(description="The clinic or department.")
        ],
        date: Annotated[dt.date, strawberry.argument(description="The first day.")],
        days: Annotated[int, strawberry.argument(description="How many days, 1 to 31.")] = 7,
        resources: Annotated[
            Ids | None,
            strawberry.argument(
                description="Only of these practitioners, rooms and devices; else of all."
            ),
        ] = None,
        together: Annotated[
            Ids | None,
            strawberry.argument(
                description="Practitioners, rooms and devices that must all be free as well."
            ),
        ] = None,
        service: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="For a visit of this service, as long as it takes."),
        ] = None,
        minutes: Annotated[
            int | None,
            strawberry.argument(description="For a visit of this length; else as the rules say."),
        ] = None,
    ) -> list[Availability] | None:
        context, raw = info.context, info._raw_info
        known, unit = node_argument(info, clinic)
        good, service_id = local_id(service, "HealthcareService")
        if not (known and good):
            return None
        period = _days(date, days)
        if minutes is not None and not 5 <= minutes <= 480:
            raise Invalid("A visit takes 5 to 480 minutes.", path=("minutes",))
        named, also = ids_of(resources), ids_of(together) or []
        if not may_read(context, unit):
            context.note_masked(((response_path(raw), FieldGroup.SCHEDULING.name, 1),))
            return None
        asked = None if named is None else [*named, *also]
        found = await free_times(context, unit, asked, service_id, period)
        offered = service_id is None or (found is not None and found.minutes is not None)
        if found is None or not offered or not found.resources.keys() >= set(also):
            return finished(b"[]")
        return written(raw, _rows(found, named, also, minutes))


def _rows(
    found: FreeTimes, named: list[uuid.UUID] | None, also: list[uuid.UUID], minutes: int | None
) -> list[tuple[Resource, list[Any]]]:
    now = dt.datetime.now(dt.UTC)
    chosen = (r for r in found.resources.values() if named is None or r.id in named)
    return [
        (r, list(instants(found.slots(r, since=now, minutes=minutes, together=also))))
        for r in chosen
    ]


def _days(date: dt.date, days: int) -> tuple[dt.date, dt.date]:
    if not 1 <= days <= DAYS:
        raise Invalid(f"1 to {DAYS} days.", path=("days",))
    try:
        return date, date + dt.timedelta(days=days - 1)
    except OverflowError:
        raise Invalid("The date is out of range.", path=("date",)) from None
