"""Filters (RFC 7644, section 3.4.2.2) as conditions of SQL, and what a search is sorted by.

A condition is never null, so that `not` has two values. An attribute that no searched type declares is refused, never
ignored: a filter that is dropped shows the whole directory.
"""

import base64
import datetime as dt
import operator
from collections.abc import Callable
from typing import Any
from typing import cast as cast_to

from pydantic import EmailStr
from scim2_models import BaseModel, InvalidFilterException
from scim2_models.path import AttrPath, CompareOperator, Comparison, LogicalExpr, LogicalOperator
from scim2_models.path.resolution import (
    AttributeBinding,
    # The attributes inside of brackets have no public way of being resolved.
    _resolve_filter_path,
    _validate_operator,
    coerce_value,
)
from scim2_models.path.visitor import FilterVisitor
from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Text,
    all_,
    and_,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.types import DateTime as AnyDateTime

from identity.scim.kinds import EMAILS, ENTRY, USERS, Kind, Stored
from identity.scim.refusals import refused
from identity.scim.schemas import USER

Condition = ColumnElement[bool]
LENGTH = 4_000
DEPTH = 20
SORTED = 200
"""By so many characters texts are sorted: a cursor has what its page ended with."""
_NFC: ColumnElement[Any] = literal_column("NFC")
_ORDER: dict[CompareOperator, Callable[[Any, Any], Condition]] = {
    CompareOperator.gt: operator.gt,
    CompareOperator.ge: operator.ge,
    CompareOperator.lt: operator.lt,
    CompareOperator.le: operator.le,
}
_STRINGS = (CompareOperator.co, CompareOperator.sw, CompareOperator.ew)


def check_size(text: str) -> None:
    """Raises InvalidFilterException for a filter that is longer or deeper than anybody writes one."""
    if len(text) > LENGTH:
        raise refused(InvalidFilterException, f"A filter has at most {LENGTH} characters.")
    depth = 0
    for part in text:
        depth += (part in "([") - (part in ")]")
        if depth > DEPTH:
            raise refused(InvalidFilterException, f"A filter is nested {DEPTH} deep at most.")


class Conditions(FilterVisitor[Condition]):
    """Builds the condition of one kind; attributes that it does not declare match nothing and are in `unknown`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.unknown: set[str] = set()

    def resolve(self, path: Any, *, comparing: bool) -> AttributeBinding | None:
        """The attribute that a path names, None for one that the kind has not."""
        bound = _resolve_filter_path(self.kind.model, path, strict=False, for_comparison=comparing)
        if bound is None:
            self.unknown.add(str(path).lower())
        return bound

    def visit_comparison(self, node: Any) -> Condition:
        """`attribute operator value`; of a list any entry, with `ne` every one."""
        bound = self.resolve(node.attr_path, comparing=True)
        if bound is None:
            return false()
        _validate_operator(bound, node.op)
        stored = self.kind.stored(bound)
        if stored is not None:
            return compare(stored, bound, node.op, node.value)
        part = _part(bound)
        if bound.is_multivalued:
            if bound.urn == f"{USER}:emails.value" and node.op is CompareOperator.eq and node.value:
                return _has_address(bound, node.value)
            if node.op is CompareOperator.ne:
                return not_(self._any(bound, part, CompareOperator.eq, node.value))
            return self._any(bound, part, node.op, node.value)
        return compare(_inside(self.kind, bound, part), bound, node.op, node.value)

    def _any(
        self, bound: AttributeBinding, part: str | None, op: CompareOperator, value: Any
    ) -> Condition:
        rows = self.kind.rows(bound)
        if rows is not None:
            found = rows.parts.get(part or "value", null())
            return self.entries(bound, compare(Stored(found), bound, op, value))
        entry = Stored(_typed(_taken(ENTRY, part), bound))
        return self.entries(bound, compare(entry, bound, op, value))

    def entries(self, bound: AttributeBinding, condition: Condition) -> Condition:
        """Whether an entry of a list attribute satisfies the condition."""
        rows = self.kind.rows(bound)
        if rows is not None:
            found = select(literal(1)).select_from(rows.rows).where(rows.where, condition)
            return exists(found.correlate(self.kind.table))
        listed = self.kind.inside(bound)
        each = func.jsonb_array_elements(listed).table_valued("value", name="entry")
        found = select(literal(1)).select_from(each.render_derived(name="entry")).where(condition)
        return and_(listed.isnot(None), exists(found.correlate(self.kind.table)))

    def visit_present(self, node: Any) -> Condition:
        """`attribute pr`: there, and not empty."""
        bound = self.resolve(node.attr_path, comparing=False)
        if bound is None:
            return false()
        stored = self.kind.stored(bound)
        if stored is not None:
            return _filled(stored.value)
        part = _part(bound)
        if not bound.is_multivalued:
            return _filled(_inside(self.kind, bound, part).value)
        if part is None:
            return self.entries(bound, true())
        rows = self.kind.rows(bound)
        found = rows.parts.get(part, null()) if rows is not None else _taken(ENTRY, part)
        return self.entries(bound, _filled(found))

    def visit_not(self, node: Any) -> Condition:
        """`not (…)`."""
        return not_(self.visit(node.expr))

    def visit_logical_expr(self, node: Any) -> Condition:
        """`… and …`, `… or …`."""
        join = and_ if node.op == LogicalOperator.and_ else or_
        return join(*(self.visit(term) for term in node.terms))

    def visit_value_path(self, node: Any) -> Condition:
        """`attribute[…]`: one entry satisfies all of it."""
        bound = self.resolve(node.attr_path, comparing=False)
        if bound is None:
            return false()
        host: Any = bound.field_type
        if not bound.is_multivalued or not (isinstance(host, type) and issubclass(host, BaseModel)):
            raise refused(InvalidFilterException, "Only a list of objects is filtered in brackets.")
        within = _Within(self, bound)
        found = self.entries(bound, within.visit(node.val_filter))
        address = _address_in(node.val_filter) if bound.urn == f"{USER}:emails" else None
        if address is None:
            return found
        value = self.resolve(AttrPath("emails", "value"), comparing=True)
        assert value is not None
        return and_(_has_address(value, address), found)


class _Within(FilterVisitor[Condition]):
    """The filter inside of brackets, about one entry of a list."""

    def __init__(self, outer: Conditions, host: AttributeBinding) -> None:
        self.outer = outer
        self.host = host
        self.rows = outer.kind.rows(host)

    def _value(self, path: Any, *, comparing: bool) -> tuple[AttributeBinding, Stored] | None:
        model: Any = self.host.field_type
        bound = _resolve_filter_path(model, path, strict=False, for_comparison=comparing)
        if bound is None:
            self.outer.unknown.add(f"{self.host.urn}.{path}".lower())
            return None
        part = model._scim_name(bound.field_name)
        if self.rows is not None:
            return bound, Stored(self.rows.parts.get(part, null()))
        return bound, Stored(_typed(_taken(ENTRY, part), bound))

    def visit_comparison(self, node: Any) -> Condition:
        found = self._value(node.attr_path, comparing=True)
        if found is None:
            return false()
        bound, stored = found
        _validate_operator(bound, node.op)
        return compare(stored, bound, node.op, node.value)

    def visit_present(self, node: Any) -> Condition:
        found = self._value(node.attr_path, comparing=False)
        return false() if found is None else _filled(found[1].value)

    def visit_not(self, node: Any) -> Condition:
        return not_(self.visit(node.expr))

    def visit_logical_expr(self, node: Any) -> Condition:
        join = and_ if node.op == LogicalOperator.and_ else or_
        return join(*(self.visit(term) for term in node.terms))

    def visit_value_path(self, node: Any) -> Condition:  # noqa: ARG002 (the visitor's signature)
        raise refused(InvalidFilterException, "Brackets do not stand in brackets.")


def compare(stored: Stored, bound: AttributeBinding, op: CompareOperator, said: Any) -> Condition:
    """`value operator said`, as strings are compared: NFC, and without case where the attribute has none."""
    value, expected = stored.value, _coerced(bound, said, op)
    if expected is None:
        if op is CompareOperator.eq:
            return value.is_(None)
        return value.isnot(None) if op is CompareOperator.ne else false()
    if isinstance(expected, bytes):
        expected = base64.b64encode(expected).decode()
    elif isinstance(expected, str):
        expected = bound.comparable(str(expected))
        if not stored.folded and not isinstance(value.type, Boolean | AnyDateTime):
            value = folded(value, bound)
    if op is CompareOperator.ne:
        return or_(value.is_(None), value != expected)
    return and_(value.isnot(None), _ordered(value, op, expected))


def _ordered(value: ColumnElement[Any], op: CompareOperator, expected: Any) -> Condition:
    if op in _STRINGS:
        if not isinstance(expected, str) or isinstance(value.type, AnyDateTime):
            return false()
        if op is CompareOperator.co:
            return func.strpos(value, expected) > 0
        if op is CompareOperator.sw:
            return func.starts_with(value, expected, type_=Boolean)
        return func.right(value, len(expected)) == expected if expected else true()
    if op is CompareOperator.eq:
        return cast_to(Condition, value == expected)
    left = value.collate("C") if isinstance(expected, str) else value
    return _ORDER[op](left, expected)


def folded(value: ColumnElement[Any], bound: AttributeBinding) -> ColumnElement[Any]:
    """A text in the form in which the attribute's values are compared."""
    composed = func.normalize(value, _NFC, type_=Text)
    return composed if bound.case_exact else func.lower(composed, type_=Text)


def _coerced(bound: AttributeBinding, said: Any, op: CompareOperator) -> Any:
    """What was said in the attribute's type. A text that is no address is nobody's: directories probe with such."""
    if bound.target_type is EmailStr and isinstance(said, str):
        return said
    return coerce_value(bound, said, op)


def _has_address(bound: AttributeBinding, said: Any) -> Condition:
    """Whether somebody has an e-mail address; by its index."""
    address = bound.comparable(str(_coerced(bound, said, CompareOperator.eq)))
    found = select(literal(1)).where(
        EMAILS.c.tenant_id == USERS.c.tenant_id,
        EMAILS.c.user_id == USERS.c.id,
        EMAILS.c.address == address,
    )
    return exists(found.correlate(USERS))


def _address_in(node: Any) -> str | None:
    """The address that an entry must have to satisfy a filter in brackets, where it names one."""
    if isinstance(node, LogicalExpr) and node.op == LogicalOperator.and_:
        return next(filter(None, map(_address_in, node.terms)), None)
    named = isinstance(node, Comparison) and str(node.attr_path).lower() == "value"
    if named and node.op is CompareOperator.eq and isinstance(node.value, str):
        return node.value
    return None


def _part(bound: AttributeBinding) -> str | None:
    if not bound.sub_field_name:
        return None
    model: Any = bound.field_type
    name: str = model._scim_name(bound.sub_field_name)
    return name


def _taken(value: ColumnElement[Any], part: str | None) -> ColumnElement[Any]:
    """The text of a JSON value, or of a part of it."""
    if part is not None:
        return func.jsonb_extract_path_text(value, part, type_=Text)
    return value.op("#>>", return_type=Text())(literal_column("'{}'"))


def _inside(kind: Kind, bound: AttributeBinding, part: str | None) -> Stored:
    return Stored(_typed(_taken(kind.inside(bound), part), bound))


def _typed(value: ColumnElement[Any], bound: AttributeBinding) -> ColumnElement[Any]:
    kind = bound.target_type
    if kind is bool:
        return cast(value, Boolean)
    if isinstance(kind, type) and issubclass(kind, dt.datetime):
        return cast(value, DateTime(timezone=True))
    return value


def _filled(value: ColumnElement[Any]) -> Condition:
    return and_(value.isnot(None), cast(value, Text) != all_(array(["", "{}", "[]"])))


def sort_key(kind: Kind, path: Any) -> ColumnElement[Any] | None:
    """What rows are ordered by, of a list its primary or else first entry; None where the kind has no such attribute."""
    bound = type(path)(str(path)).resolve()
    if bound is None:
        return None
    stored = kind.stored(bound)
    if stored is None and bound.is_multivalued:
        stored = Stored(_first(kind, bound))
    elif stored is None:
        stored = _inside(kind, bound, _part(bound))
    value = stored.value
    if isinstance(value.type, Boolean | AnyDateTime):
        return cast(value, Text) if isinstance(value.type, Boolean) else value
    text = value if stored.folded else folded(value, bound)
    return func.left(text, SORTED, type_=Text).collate("C")


def _first(kind: Kind, bound: AttributeBinding) -> ColumnElement[Any]:
    if kind.rows(bound) is not None:
        raise refused(InvalidFilterException, "This attribute has no order.")
    each = func.jsonb_array_elements(kind.inside(bound)).table_valued(
        "value", with_ordinality="place", name="entry"
    )
    primary = cast(_taken(ENTRY, "primary"), Boolean).is_(True)
    place: ColumnElement[int] = literal_column("entry.place")
    found = select(_typed(_taken(ENTRY, _part(bound) or "value"), bound))
    found = found.select_from(each.render_derived(name="entry"))
    ordered = found.order_by(primary.desc(), place).limit(1)
    return ordered.correlate(kind.table).scalar_subquery()
