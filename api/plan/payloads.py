"""The payload of a mutation: its selected fields, and what it says where a command was refused."""

from collections.abc import Mapping
from typing import Any

import orjson
from graphql import GraphQLObjectType, GraphQLResolveInfo, get_named_type
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import ColumnElement, Select, Text, cast, func
from sqlalchemy import literal_column as raw

from api.context import Context
from api.plan.compile import Compiler, Details, Hidden
from api.plan.fetch import response_path, whole
from api.plan.mapping import Row
from api.plan.run import variables
from authz.guard import Forbidden
from domain.errors import DomainError, NotAllowed, NotFound, Several, StaleVersion

OUTER = frozenset({"id", "unit", "resource", "mrn", "version", "idempotencyKey"})
"""Fields that lie at the top of every input."""
NAMED = {
    "patientId": "patient",
    "practitionerId": "practitioner",
    "roomIds": "rooms",
    "appointmentId": "appointment",
    "encounterId": "encounter",
    "invoiceId": "invoice",
    "serviceId": "service",
    "resourceId": "resource",
}
"""What inputs call a field that the domain names by its id."""
Columns = Mapping[str, ColumnElement[Any]]
"""A payload's further fields, each by an expression of its value."""
NOT_DATA = (NotFound, Forbidden, NotAllowed, StaleVersion)
"""Refusals that no other input mends: they are errors of the field, the others are data."""


def payload_type(info: GraphQLResolveInfo[Any]) -> GraphQLObjectType:
    """The payload's type."""
    type_ = get_named_type(info.return_type)
    assert isinstance(type_, GraphQLObjectType)
    return type_


def compiler_of(info: GraphQLResolveInfo[Any]) -> tuple[Compiler, Details]:
    """A compiler to read the selection of a payload with, and the payload's own nodes."""
    context: Context = info.context
    c = Compiler(info.schema, info.operation, info.fragments, dict(variables(info)), context.actor)
    return c, [FieldDetails(node, None) for node in info.field_nodes]


def payload_fields(info: GraphQLResolveInfo[Any]) -> list[tuple[str, str]]:
    """The selected fields of the payload: (response name, field name)."""
    c, details = compiler_of(info)
    return [(response, name) for response, _, name in c.fields(payload_type(info), details)]


def around(
    c: Compiler,
    info: GraphQLResolveInfo[Any],
    details: Details,
    statement: Select[Any],
    row: Row,
    shows: tuple[str, str],
    values: Columns,
) -> tuple[Select[Any], ColumnElement[Any], list[Hidden]]:
    """The selected payload around the one row of a statement: that statement, the JSON, what is hidden of it.

    `shows`: the field that shows the row, and its type; `values` are the other fields.
    """
    type_ = c.schema.get_type(shows[1])
    assert isinstance(type_, GraphQLObjectType)
    hidden: list[Hidden] = []
    out: list[Any] = []
    for response, found, name in c.fields(payload_type(info), details):
        if name == shows[0]:
            columns, node = c.object(type_, row, found, statement, (*response_path(info), response))
            value = whole(c, columns, node)
            statement, hidden = node.base, hidden + node.hidden
        else:
            value = raw(f"'{payload_type(info).name}'") if name == "__typename" else values[name]
        out += [raw(f"'{response}'"), value]
    return statement, cast(func.json_build_object(*out), Text), hidden


def selected(info: GraphQLResolveInfo[Any], response: str, value: Any) -> Any:
    """The selected fields of a plain value object (a dictionary with `__typename`), or of a list of them."""
    c, details = compiler_of(info)
    inner = next(d for r, d, _ in c.fields(payload_type(info), details) if r == response)
    return _chosen(c, inner, value)


def _chosen(c: Compiler, details: Details, value: Any) -> Any:
    if isinstance(value, list):
        return [_chosen(c, details, item) for item in value]
    if not isinstance(value, dict):
        return value
    type_ = c.schema.get_type(value["__typename"])
    assert isinstance(type_, GraphQLObjectType)
    return {r: _chosen(c, d, value[name]) for r, d, name in c.fields(type_, details)}


def refused(info: GraphQLResolveInfo[Any], error: DomainError, nested: str | None = None) -> Any:
    """The payload of a refusal that a person can mend. Raises the error itself where nobody can."""
    if isinstance(error, NOT_DATA):
        raise error
    told = [
        {
            "__typename": "InputError",
            "code": one.code,
            "message": one.message,
            "path": input_path(one.path, nested) or None,
            **one.details,
        }
        for one in (error.errors if isinstance(error, Several) else (error,))
    ]
    parts = []
    for response, name in payload_fields(info):
        if name == "userErrors":
            json = orjson.dumps(selected(info, response, told))
        elif name == "__typename":
            json = orjson.dumps(payload_type(info).name)
        else:
            json = b"null"
        parts.append((response, json))
    return joined(parts)


def input_path(path: tuple[str, ...], nested: str | None) -> list[str]:
    """A refusal's path as the input has it: `patientId` is its field `patient`; demographics lie one deeper."""
    named = [NAMED.get(part, part) for part in path]
    if nested is not None and named and named[0] not in OUTER:
        return [nested, *named]
    return named


def finished(json: bytes) -> Any:
    """JSON that completion hands through."""
    return orjson.Fragment(json)


def joined(parts: list[tuple[str, bytes]]) -> Any:
    """Finished fields as one object."""
    return finished(b"{" + b",".join(b'"' + r.encode() + b'":' + j for r, j in parts) + b"}")
