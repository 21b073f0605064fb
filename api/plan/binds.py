"""Values of a statement: what the text leaves open is computed for each request, as PostgreSQL's text form."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from graphql import FieldNode, GraphQLField, Undefined, VariableNode
from graphql.utilities import value_from_ast
from sqlalchemy import ARRAY, BindParameter, Uuid, bindparam
from sqlalchemy.types import TypeEngine

from authz.actor import Actor
from domain.errors import Invalid


class Inputs(NamedTuple):
    """All that a plan's parameters are computed from."""

    variables: Mapping[str, Any]
    values: Mapping[str, Any]
    actor: Actor


Getter = Callable[[Inputs], bytes | None]


class Binds:
    """The parameters of one statement, by name, each with its way to a value."""

    def __init__(self) -> None:
        self.getters: dict[str, Getter] = {}

    def make(self, getter: Getter, type_: TypeEngine[Any] | None = None) -> BindParameter[Any]:
        """A parameter of its own."""
        return self.named(f"a{len(self.getters)}", getter, type_)

    def named(
        self, name: str, getter: Getter, type_: TypeEngine[Any] | None = None
    ) -> BindParameter[Any]:
        """The parameter of this name: asked for twice, it is sent once."""
        self.getters.setdefault(name, getter)
        return bindparam(name, None, type_=type_, required=False)

    def value(self, name: str, type_: TypeEngine[Any] | None = None) -> BindParameter[Any]:
        """An argument of the root field, which its resolver hands over in `values`."""
        return self.named(f"v_{name}", lambda inputs: encode(inputs.values[name]), type_)

    def units(self, name: str) -> BindParameter[Any]:
        """Ids of units, which the resolver hands over in `values`."""
        return self.value(name, ARRAY(Uuid()))

    def argument(
        self,
        definition: GraphQLField,
        node: FieldNode,
        name: str,
        type_: TypeEngine[Any] | None = None,
        convert: Callable[[Any], Any] = lambda value: value,
    ) -> BindParameter[Any]:
        """An argument of a nested field: a variable is read at each request, a literal once."""
        declared = definition.args[name]
        default = None if declared.default_value is Undefined else declared.default_value
        found = next((a.value for a in node.arguments or () if a.name.value == name), None)
        if isinstance(found, VariableNode):
            variable = found.name.value

            def read(inputs: Inputs) -> bytes | None:
                return encode(convert(inputs.variables.get(variable, default)))

            return self.make(read, type_)
        if found is None:
            constant = encode(convert(default))
        elif "variable" in syntax_kinds(found):
            return self.make(
                lambda inputs: encode(
                    convert(value_from_ast(found, declared.type, dict(inputs.variables)))
                ),
                type_,
            )
        else:
            constant = encode(convert(value_from_ast(found, declared.type)))
        return self.make(lambda _: constant, type_)


def syntax_kinds(node: Any) -> set[str]:
    """The kinds of syntax inside a literal: does a list or an object hold a variable?"""
    kinds = {node.kind}
    for child in (*getattr(node, "values", ()), *[f.value for f in getattr(node, "fields", ())]):
        kinds |= syntax_kinds(child)
    return kinds


_SEVERAL = (list, tuple, frozenset, set)


def encode(value: Any) -> bytes | None:
    """A Python value in PostgreSQL's text form.

    Raises Invalid for a text that PostgreSQL cannot hold, TypeError for a type that no plan sends.
    """
    if value is None:
        return None
    kind = type(value)
    if kind is bytes:
        return bytes(value)
    if kind is str:
        text: str = value
        if "\0" in text:
            raise Invalid("A text has no NUL character.")
        return text.encode()
    if kind is bool:
        return b"t" if value else b"f"
    if kind in (int, Decimal, uuid.UUID):
        return str(value).encode()
    if kind is dt.datetime or isinstance(value, dt.date):
        return value.isoformat().encode()  # type: ignore[no-any-return] # a date or an instant
    if isinstance(value, _SEVERAL):
        return b"{" + b",".join(_element(item) for item in value) + b"}"
    raise TypeError(f"no parameter of type {kind.__name__}")


def _element(item: Any) -> bytes:
    inner = encode(item)
    if inner is None:
        return b"NULL"
    return b'"' + inner.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
