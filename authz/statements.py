"""Looking into a statement before it is sent: which models it touches, and whether anything slips past them.

Criteria are added to mapped classes. A text fragment, or a tenant's table used without its class, would reach rows
without any; so such a statement is refused as a whole.
"""

import re
from typing import Any

from sqlalchemy import (
    ColumnClause,
    CompoundSelect,
    Delete,
    Insert,
    Select,
    Table,
    TableClause,
    TextClause,
    Update,
)
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import AliasedReturnsRows, TextualSelect, Values
from sqlalchemy.util import LRUCache

from authz.entities import check, entity, parts
from authz.refusals import Unguarded
from domain.model import Base

_ORM = frozenset({"parententity", "parentmapper"})
_CONSTANT = re.compile(r"\*|-?[0-9]+|true|false|null|'[A-Za-z0-9_:. -]*'", re.IGNORECASE)
_RUNS_SQL = re.compile(
    r"(query|cursor|table|schema|database)_to_xml.*|ts_(stat|rewrite)|dblink.*|lo_.*"
    r"|pg_(read|ls|stat_file|file|terminate|cancel|reload|rotate|logical|replication).*"
    r"|set_config|currval|nextval|setval"
)
_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|?]+")
_VERBATIM = ("_prefixes", "_suffixes", "_hints", "_statement_hints")
_KNOWN: LRUCache[Any, frozenset[type[Base]]] = LRUCache(10_000)


def models_in(statement: Any) -> frozenset[type[Base]]:
    """The mapped classes that a statement reads or writes. Raises Unguarded for what has none.

    One walk for each shape of a statement; the next of the same shape costs a look-up.
    """
    if not isinstance(statement, Select | CompoundSelect | Insert | Update | Delete):
        raise Unguarded("only SELECT, INSERT, UPDATE and DELETE built from mapped classes")
    cache_key = statement._generate_cache_key()
    key = cache_key.key if cache_key is not None else None
    found = _KNOWN.get(key) if key is not None else None
    if found is None:
        walk = _Walk(statement)
        walk.visit(statement, frozenset())
        check(statement)
        found = frozenset(walk.models)
        if key is not None:
            _KNOWN[key] = found
    return found


class _Walk:
    """One walk over a statement, collecting the models."""

    def __init__(self, top: Any) -> None:
        self.models: set[type[Base]] = set()
        self._top = top
        self._sources: set[int] = set()

    def visit(self, element: Any, covered: frozenset[Any]) -> None:
        """`covered`: tables for which a mapped class of this or an enclosing statement stands."""
        mapped = _mapped(element)
        if mapped is not None:
            self.models.add(mapped)
        if isinstance(element, AliasedReturnsRows | Values):
            self._source(element, mapped)
        elif isinstance(element, TableClause):
            if mapped is None and element.name in Base.metadata.tables and element not in covered:
                raise Unguarded(f"the table {element.name} is used without its class")
        elif isinstance(element, ColumnClause):
            _refuse_verbatim_column(element)
            if mapped is None and element.table is not None:
                self.visit(element.table, covered)
        else:
            if isinstance(element, Insert | Update | Delete) and element is not self._top:
                raise Unguarded("a write inside another statement")
            _refuse_text(element)
            self._inside(element, covered)

    def _source(self, element: Any, mapped: type[Base] | None) -> None:
        """A sub-select, an alias or VALUES; its columns and a recursive one lead back to itself."""
        if id(element) in self._sources:
            return
        self._sources.add(id(element))
        if isinstance(element, Values):
            self._inside(element, frozenset())
        elif mapped is None or not isinstance(element.element, Table):
            self.visit(element.element, frozenset())

    def _inside(self, element: Any, covered: frozenset[Any]) -> None:
        inner = list(parts(element))
        if isinstance(element, Select | Update | Delete | Insert):
            own = {
                p if isinstance(p, Table) else getattr(p, "table", None) for p in inner if _orm(p)
            }
            if isinstance(element, Update | Delete | Insert) and _orm(element.table):
                own.add(element.table)
            covered = covered | {t for t in own if t is not None}
        for part in inner:
            self.visit(part, covered)


def _refuse_text(element: Any) -> None:
    """Refuse what reaches the server as it was written."""
    if isinstance(element, TextClause | TextualSelect):
        if _CONSTANT.fullmatch(getattr(element, "text", "")) is None:
            raise Unguarded("a text fragment in a guarded statement")
    elif isinstance(element, FunctionElement):
        if _RUNS_SQL.fullmatch(getattr(element, "name", "").lower()):
            raise Unguarded("a function that runs or sets more than it says")
    elif any(getattr(element, name, None) for name in _VERBATIM):
        raise Unguarded("a prefix, suffix or hint in a guarded statement")
    for name in ("operator", "modifier"):
        operator = getattr(element, name, None)
        if isinstance(operator, custom_op) and _OPERATOR.fullmatch(operator.opstring) is None:
            raise Unguarded("a text fragment as an operator")


def _refuse_verbatim_column(element: ColumnClause[Any]) -> None:
    if element.is_literal and _CONSTANT.fullmatch(element.name) is None:
        raise Unguarded("a text fragment in a guarded statement")
    if getattr(element.name, "quote", None) is False:
        raise Unguarded("a name that is not quoted")


def _orm(element: Any) -> bool:
    return bool(_ORM & set(element._annotations))


def _mapped(element: Any) -> type[Base] | None:
    """The mapped class that an element is, or is an alias or a column of."""
    mapper = getattr(entity(element), "mapper", None)
    return mapper.class_ if mapper is not None else None


def rows_of(statement: Insert, parameters: Any) -> list[dict[str, Any]]:
    """The rows of an INSERT by column name. Raises Unguarded where they are not plain values."""
    if statement.select is not None:
        raise Unguarded("INSERT … SELECT takes rows that nobody judged")
    values = statement._multi_values
    listed: list[Any] = [row for rows in values or () for row in rows]
    if not listed:
        fixed = dict(statement._values or {})
        given = parameters if isinstance(parameters, list) else [parameters or {}]
        listed = [{**fixed, **row} for row in given]
    return [{_key(k): _plain(v) for k, v in row.items()} for row in listed]


def values_of(statement: Update) -> dict[str, Any]:
    """What an UPDATE sets by column name; an expression of columns stays an expression."""
    ordered = dict(getattr(statement, "_ordered_values", None) or ())
    values = {**dict(statement._values or {}), **ordered}
    return {_key(k): _plain(v) if isinstance(v, BindParameter) else v for k, v in values.items()}


def _key(column: Any) -> str:
    return column if isinstance(column, str) else str(column.key)


def _plain(value: Any) -> Any:
    if isinstance(value, BindParameter):
        return value.effective_value
    if hasattr(value, "get_children"):
        raise Unguarded("a row of an INSERT is made of plain values")
    return value
