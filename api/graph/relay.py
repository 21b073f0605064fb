"""What all subjects share: Relay's Node and connections, money, user errors, and the mark of a root field."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform

import strawberry
from sqlalchemy import ColumnElement, Numeric, Text, cast, func, select
from sqlalchemy import literal_column as raw

from api.context import Context
from domain.organization import Tenant

T = TypeVar("T")
Info = strawberry.Info[Context, None]


First = Annotated[int, strawberry.argument(description="How many rows at the most, 0 to 100.")]
After = Annotated[
    str | None, strawberry.argument(description="The cursor behind which the page begins.")
]
Within = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="A unit of the tree: only rows at it or below."),
]
Wanted = Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
GIVEN = strawberry.argument(description="What is asked for.")


def root(action: str, description: str) -> Callable[[Callable[..., Any]], Any]:
    """A root field. `action` names the permission that its policy asks (`patient:read`), or `own` for one's own."""

    def decorate(resolver: Callable[..., Any]) -> Any:
        return strawberry.field(
            resolver=resolver, description=description, metadata={"root": action}
        )

    return decorate


def stream(
    action: str, description: str, shown: Callable[..., Awaitable[Any]]
) -> Callable[[Callable[..., Any]], Any]:
    """A root field of subscriptions: the resolver yields events, `shown(event, info)` is the answer to each.

    None answers nothing. `action` as of `root`.
    """

    def decorate(resolver: Callable[..., Any]) -> Any:
        told = {"root": action, "shown": shown}
        return strawberry.subscription(resolver=resolver, description=description, metadata=told)

    return decorate


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def value_type(description: str) -> Callable[[type[T]], type[T]]:
    """A type that holds no guarded row: money, connections, payloads."""

    def decorate(cls: type[T]) -> type[T]:
        cls.__plain__ = True  # type: ignore[attr-defined] # read by wall 1 in api/schema.py
        return strawberry.type(cls, description=description)

    return decorate


@strawberry.interface(description="Anything with an id that `node` finds again.")
class Node:
    """https://relay.dev/graphql/objectidentification.htm"""

    id: strawberry.ID = strawberry.field(description="Opaque and stable; take it to `node`.")


@value_type("Where a page stands in its list, as Relay's connections say it.")
class PageInfo:
    """https://relay.dev/graphql/connections.htm#sec-undefined.PageInfo"""

    has_next_page: bool = strawberry.field(description="Whether there are rows behind this page.")
    has_previous_page: bool = strawberry.field(
        description="Whether there are rows before this page."
    )
    start_cursor: str | None = strawberry.field(description="The cursor of the first row.")
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last row: take it to `after`."
    )


@value_type("A row of a page and its cursor.")
class Edge(Generic[T]):
    """https://relay.dev/graphql/connections.htm#sec-Edge-Types"""

    cursor: str = strawberry.field(description="Opaque; take it to `after`.")
    node: T = strawberry.field(description="The row.")


@value_type("A page of rows, in their order.")
class Connection(Generic[T]):
    """https://relay.dev/graphql/connections.htm#sec-Connection-Types, with `nodes` and a capped total."""

    edges: list[Edge[T]] = strawberry.field(description="The rows with their cursors.")
    nodes: list[T] = strawberry.field(description="The rows.")
    page_info: PageInfo = strawberry.field(description="Where this page stands.")
    total_count: int = strawberry.field(
        description="How many rows there are in all, 1,000 at the most."
    )
    total_count_is_exact: bool = strawberry.field(
        description="False where there are more rows than `totalCount` says."
    )


@value_type("An amount of money.")
class Money:
    """FHIR Money, https://hl7.org/fhir/R4/datatypes.html#Money"""

    amount: str = strawberry.field(description="A decimal number, as text so that it stays exact.")
    currency: str = strawberry.field(description="ISO 4217 code; one for a health system.")


def money(
    minor: Callable[..., ColumnElement[Any]], *, always: bool = False
) -> Callable[..., dict[str, ColumnElement[Any]]]:
    """The fields of a Money from an expression in minor units: `minor(row, compiler)`.

    Null gives null; an expression that is never null says so by `always`, and is then computed once instead of twice.
    """

    def build(row: Any, compiler: Any) -> dict[str, ColumnElement[Any]]:
        value = minor(row, compiler)
        made = amount_of(value, compiler)
        return made if always else {**made, "": value.is_not(None)}

    return build


def amount_of(minor: ColumnElement[Any], compiler: Any) -> dict[str, ColumnElement[Any]]:
    """A Money's fields, from an expression in minor units."""
    tenant = compiler.alias(Tenant)
    here = tenant.tenant_id == compiler.tenant()
    digits = select(tenant.currency_digits).where(here).scalar_subquery()
    currency = select(tenant.currency).where(here).scalar_subquery()
    unit = select(func.power(raw("10::numeric"), -tenant.currency_digits)).where(here)
    whole = cast(minor, Numeric) * unit.scalar_subquery()
    return {"amount": cast(func.round(whole, digits), Text), "currency": currency}
