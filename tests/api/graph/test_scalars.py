"""Every scalar as SQL writes it is what Strawberry itself would have written: finished JSON skips its serializers."""

import datetime as dt
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import orjson
import pytest
from graphql import GraphQLEnumType, GraphQLObjectType, GraphQLScalarType, get_named_type

from api.schema import build_schema
from tests import who
from tests.database import Database
from tests.oracle.fields import NODE_TYPES
from tests.oracle.scim_types import ends
from tests.oracle.shapes import Leaf, Struct, Type, snake
from tests.oracle.stage import Stage, staged
from tests.oracle.world import System

pytestmark = pytest.mark.anyio
INSTANTS = (
    dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(1899, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    dt.datetime(2025, 3, 30, 3, 0, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))),
    dt.datetime(2025, 6, 1, 12, 0, 0, 100_000, tzinfo=dt.UTC),
    dt.datetime(9998, 12, 31, 0, 0, 0, 1, tzinfo=dt.UTC),
)
NUMBERS = ("0", "-0.10", "1E+3", "0.000000001", "12345678901234567890.12345", "98.60")
TEXTS = (
    '"quoted" \\ back',
    "tab\tline\nend\r",
    "\u2028 \x7f",
    "漢字 👩‍⚕️",
    "</script>",
    "x" * 5_000,
)


@pytest.fixture(scope="module")
async def odd(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A health system whose values are at the edges of what their columns take."""
    system = System("odd", "JPY", 0)
    for i, row in enumerate(system.rows):
        edge(row, i)
    cell = database.async_engine("caretree_app")
    async with staged(database, cell, tmp_path_factory.mktemp("odd") / "keys", [system]) as made:
        yield made
    await cell.dispose()


RENAMED = {
    "ScimRequest.directoryRequestId": "outside_request_id",
    "ScimRequest.resource": "asked",
    "AllergyIntolerance.recordedAt": "effective_at",
    "MedicationRequest.authoredAt": "effective_at",
    "MedicationStatement.assertedAt": "effective_at",
    "Procedure.performedAt": "effective_at",
    "Immunization.occurredAt": "effective_at",
}
"""Fields with another name than their column."""
MADE = {
    *("IdentityProvider.expiresWithin", "IdentityProvider.attributeNames"),
    *("IdentityProvider.attributeSources", "EmailDomain.recordName"),
    "ScimToken.endsWithin",
    *(f"Person.{name}" for name in ("syncState", "syncCause", "syncedAt")),
    *(f"HeldAccount.{name}" for name in ("userName", "givenName", "familyName", "email")),
}
"""Fields that no column holds; the oracle says what they are."""
SEALED = ("body", "subjective", "objective", "assessment", "plan")
ENTRIES = (
    "allergy_intolerance",
    "medication_request",
    "medication_statement",
    "procedure",
    "immunization",
)


def edge(row: Any, i: int) -> None:
    """Give the row some values that are hard to write."""
    table = row.__tablename__
    if table == "encounter":
        row.started_at, row.reason = INSTANTS[i % len(INSTANTS)], TEXTS[i % len(TEXTS)]
        row.ended_at = None
    elif table == "observation" and row.value_quantity is not None:
        row.value_quantity = Decimal(NUMBERS[i % len(NUMBERS)])
    elif table == "patient":
        row.deceased_on = (dt.date(1, 1, 1), dt.date(9999, 12, 31), None)[i % 3]
        row.version = (1, 2**31 - 1)[i % 2]
        row.preferred_name = TEXTS[i % len(TEXTS)]
    elif table == "invoice" and row.number is not None:
        row.number += 2**62
    elif table == "note":
        row.created_at = INSTANTS[i % len(INSTANTS)]
    elif table in ENTRIES:
        row.effective_at, row.display = INSTANTS[i % len(INSTANTS)], TEXTS[i % len(TEXTS)]
        if table == "immunization":
            row.dose_quantity, row.dose_unit = Decimal(NUMBERS[i % len(NUMBERS)]), "mL"


def stored(odd: Stage, type_: Type, name: str, row: Any) -> Any:
    """The Python value behind a leaf: its column's, or the text that was sealed."""
    if type_.name == "Note" and name in SEALED:
        return odd.rows[0].texts[row.id].get(name)
    if f"{type_.name}.{name}" in MADE:
        shape = type_.fields[name]
        assert isinstance(shape, Leaf)
        return shape.value(odd.sight(who.BY_NAME["system_admin"]), row)
    if f"{type_.name}.{name}" == "ScimToken.endsAt":
        return ends(row)
    return getattr(row, RENAMED.get(f"{type_.name}.{name}", snake(name)))


def own(type_: Any, value: Any) -> Any:
    """As Strawberry's type writes it, through JSON."""
    if value is None:
        return None
    if isinstance(value, list):
        return [own(type_, item) for item in value]
    if isinstance(type_, GraphQLEnumType):
        members = {member.value: member for member in type_.values.values()}
        found = next(m for v, m in members.items() if getattr(v, "value", v) == value)
        value = found.value
    if type_.name == "String" and not isinstance(value, str):
        value = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return orjson.loads(orjson.dumps(type_.serialize(value)))


@pytest.mark.parametrize("type_", NODE_TYPES, ids=lambda type_: type_.name)
async def test_each_leaf_of_each_type(odd: Stage, type_: Type) -> None:
    graph = build_schema()._schema.type_map[type_.name]
    assert isinstance(graph, GraphQLObjectType)
    leaves = {
        name: get_named_type(graph.fields[name].type)
        for name, shape in type_.fields.items()
        if isinstance(shape, Leaf) and not isinstance(shape, Struct)
    }
    assert all(isinstance(t, GraphQLScalarType | GraphQLEnumType) for t in leaves.values())
    rows = {f"{type_.name}:{row.id}": row for row in odd.rows[0].all(type_.table or "")[:100]}
    text = f"query($i:[ID!]!){{nodes(ids:$i){{id ...on {type_.name}{{__typename {' '.join(leaves)}}}}}}}"
    said = await odd.ask(odd.actor(who.BY_NAME["system_admin"]), text, {"i": list(rows)})
    answered = [row for row in said.data["nodes"] if row is not None]
    assert answered
    for row in answered:
        assert "\n" not in row["id"]
        for name, graph_type in leaves.items():
            value = stored(odd, type_, name, rows[row["id"]])
            made = f"{type_.name}.{name}" in MADE  # the oracle says it as it is answered
            expected = value if made else own(graph_type, value)
            assert row[name] == expected, f"{type_.name}.{name} of {value!r}"


async def test_ids_cursors_and_typenames(odd: Stage) -> None:
    text = "{patients(first:100){__typename edges{__typename cursor node{__typename id}} pageInfo{__typename startCursor}}}"
    said = await odd.ask(odd.actor(who.BY_NAME["system_admin"]), text)
    page = said.data["patients"]
    assert page["__typename"] == "PatientConnection"
    assert page["pageInfo"]["__typename"] == "PageInfo"
    for edge_ in page["edges"]:
        assert edge_["__typename"] == "PatientEdge"
        assert edge_["node"] == {"__typename": "Patient", "id": f"Patient:{edge_['cursor']}"}


async def test_the_oracle_agrees_at_the_edges(odd: Stage) -> None:
    for name in ("system_admin", "nurse", "biller"):
        for root in ("patients", "encounters", "invoices"):
            leaf = "nodes{id __typename} totalCount"
            await odd.check(who.BY_NAME[name], f"{{{root}(first:100){{{leaf}}}}}")
