"""Does each mapped class of a statement stand where SQLAlchemy adds criteria to it?

SQLAlchemy adds them to the classes that a SELECT names in its columns, as its source, as the target of a join, or at
the surface of a condition. A class that is only mentioned deeper (inside a function in WHERE, in a CASE of a SELECT
that is about nothing else, beside the target of an UPDATE) gets a FROM of its own and no criteria: refused here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnClause, CompoundSelect, Delete, Insert, Select, Table, Update
from sqlalchemy.sql.selectable import AliasedReturnsRows, Lateral
from sqlalchemy.sql.util import surface_expressions
from sqlalchemy.sql.visitors import HasTraverseInternals

from authz.refusals import Unguarded

Entities = frozenset[Any]
NONE: Entities = frozenset()


def entity(element: Any) -> Any | None:
    """The mapper, or the alias of a class, that an element is or belongs to."""
    annotations = element._annotations
    return annotations.get("parententity") or annotations.get("parentmapper")


def parts(element: Any) -> Iterator[Any]:
    """The children of an element; of a SELECT without the tables that it derives from its columns."""
    if isinstance(element, Select):
        skip = ("_correlate", "_correlate_except")
        yield from HasTraverseInternals.get_children(element, omit_attrs=skip)
        yield from element._independent_ctes
        for target, on, left, _ in element._setup_joins:
            yield from (x for x in (target, on, left) if hasattr(x, "get_children"))
    else:
        yield from element.get_children()


def check(statement: Any) -> None:
    """Raises Unguarded for a class that would be read without criteria."""
    _Check().statement(statement, NONE)


class _Check:
    def __init__(self) -> None:
        self._sources: set[int] = set()

    def statement(self, statement: Any, outer: Entities) -> None:
        """`outer`: the classes of enclosing statements, to which this one may be correlated."""
        if isinstance(statement, CompoundSelect):
            for part in parts(statement):
                self.nested(part, outer)
            return
        mentioned, nested = _split(parts(statement))
        declared = _declared(statement)
        free = mentioned - declared
        if mentioned and statement._propagate_attrs.get("compile_state_plugin") != "orm":
            raise Unguarded("a class inside a statement that is not about it")
        if free and not (free <= outer and _correlates(statement, declared)):
            raise Unguarded("a class that the statement mentions without selecting from it")
        for part in nested:
            self.nested(part, outer | declared)

    def nested(self, part: Any, outer: Entities) -> None:
        """A sub-select. One in FROM sees nothing of what encloses it, unless it is LATERAL."""
        if not isinstance(part, AliasedReturnsRows):
            self.statement(part, outer)
        elif id(part) not in self._sources:  # a recursive one leads back to itself
            self._sources.add(id(part))
            inner = part.element
            if isinstance(inner, Select | CompoundSelect):
                self.statement(inner, outer if isinstance(part, Lateral) else NONE)
            else:
                _, deeper = _split([inner])
                for each in deeper:
                    self.nested(each, NONE)


def _split(elements: Iterable[Any]) -> tuple[Entities, list[Any]]:
    """The classes mentioned outside of sub-selects, and the sub-selects."""
    mentioned, nested, queue, seen = set(), [], list(elements), set()
    while queue:
        element = queue.pop()
        if id(element) in seen:
            continue
        seen.add(id(element))
        found = entity(element)
        if found is not None:
            mentioned.add(found)
        if isinstance(element, Select | CompoundSelect | AliasedReturnsRows):
            nested.append(element)
        elif isinstance(element, ColumnClause):
            if isinstance(element.table, AliasedReturnsRows):
                queue.append(element.table)
        elif not isinstance(element, Table):
            queue += parts(element)
    return frozenset(mentioned), nested


def _declared(statement: Any) -> Entities:
    """The classes of a statement to which SQLAlchemy adds criteria."""
    if isinstance(statement, Insert | Update | Delete):
        found = entity(statement.table)
        return frozenset({found} - {None})
    columns, _ = _split(statement._raw_columns)
    sources = {entity(source) for source in statement._from_obj}
    joined = {entity(target) for target, *_ in statement._setup_joins}
    surface = {entity(e) for test in statement._where_criteria for e in _surface(test)}
    return frozenset((columns | sources | joined | surface) - {None})


def _surface(test: Any) -> Iterable[Any]:
    found: Iterable[Any] = surface_expressions(test)  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
    return found


def _correlates(statement: Any, declared: Entities) -> bool:
    """Whether SQLAlchemy leaves a class of an enclosing statement to that one: it has a source of its own beside."""
    return bool(declared) and getattr(statement, "_auto_correlate", False)
