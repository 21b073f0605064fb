"""`node` and `nodes`: any object again by its id, as Relay's and Apollo's caches want it."""

from typing import Annotated, Any

import strawberry
from graphql import GraphQLObjectType, GraphQLSchema

from api.graph.relay import Info, Node, Wanted, root
from api.plan.fetch import get
from api.plan.mapping import parse_id
from api.plan.union import by_ids
from domain.errors import Invalid

MOST = 100


def mapped_type(schema: GraphQLSchema, prefix: str) -> Any:
    """The mapped type whose ids begin so; None where there is none."""
    found = schema.get_type(prefix)
    if not isinstance(found, GraphQLObjectType):
        return None
    definition = found.extensions.get("strawberry-definition")
    origin = getattr(definition, "origin", None)
    return origin if hasattr(origin, "__table__") else None


@strawberry.type
class Query:
    @root("own", "Any object by its id; null where there is none that you may see.")
    async def node(self, info: Info, id: Wanted) -> Node | None:
        parsed = parse_id(id)
        type_ = mapped_type(info._raw_info.schema, parsed[0]) if parsed else None
        return await get(info._raw_info, type_, id) if type_ else None

    @root(
        "own",
        "Objects by their ids, in that order; null in the place of each that you may not see.",
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[
            list[strawberry.ID], strawberry.argument(description="Their ids, at most 100.")
        ],
    ) -> list[Node | None] | None:
        if len(ids) > MOST:
            raise Invalid(f"At most {MOST} ids at once.", path=("ids",))
        return await by_ids(info._raw_info, ids, mapped_type)
