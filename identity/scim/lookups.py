"""Whoever has a value: what directories ask before they make or change somebody, found in one unit.

The condition is the one that any filter becomes (`identity/scim/filters.py`), compiled once for each attribute. Whatever
else is asked, or finds more than fits a page, is a search like others (`identity/scim/searching.py`).
"""

import re
import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

from scim2_models import Path, ScimFilter
from sqlalchemy import select

from identity.scim import dialects
from identity.scim.filters import Conditions
from identity.scim.kinds import KINDS, Kind
from identity.scim.reading import entries_of, plain, present, relations
from identity.scim.schemas import ENTERPRISE, MAX_RESULTS, PAGE
from identity.scim.units import TENANT, Prepared, Unit

_EQUALS = re.compile(r'\s*(\S+|emails\[type eq "work"\]\.value)\s+eq\s+"([^"\\]{1,300})"\s*', re.I)
_NUMBER = re.compile(r"[0-9]{1,4}")
_VALUE = "valuesoughtafter"
"""Stands for the value where a condition is compiled; folding leaves it as it is."""
_WORK = 'emails[type eq "work"].value'
ATTRIBUTES = {
    "User": {
        "username": "userName",
        "externalid": "externalId",
        "emails.value": "emails.value",
        _WORK.lower(): "emails.value",
        f"{ENTERPRISE}:employeeNumber".lower(): f"{ENTERPRISE}:employeeNumber",
    },
    "Group": {"displayname": "displayName", "externalid": "externalId"},
}
"""What each kind is looked up by -> the attribute by which values are folded."""
_KNOWN = frozenset({"filter", "startIndex", "count", "excludedAttributes"})


class _Lookup:
    """The statements that look somebody up by one attribute."""

    def __init__(self, kind: Kind, path: str) -> None:
        model: Any = kind.model
        tree = ScimFilter[model](dialects.sought(f'{path} eq "{_VALUE}"')).ast
        here = (*present(kind, TENANT), Conditions(kind).visit(tree))
        ids = select(kind.table.c.id).where(*here).order_by(kind.table.c.id).limit(MAX_RESULTS)
        rows = select(*kind.table.c).where(*here).order_by(kind.table.c.id).limit(MAX_RESULTS)
        self.rows, self.entries = Prepared.rows(rows), Prepared.rows(relations(TENANT, kind, ids))
        bound = Path[model](ATTRIBUTES[kind.name][path]).resolve()
        assert bound is not None
        self.folded = bound.comparable


@cache
def _lookup(name: str, path: str) -> _Lookup:
    return _Lookup(KINDS[name], path)


async def found(
    unit: Unit, tenant_id: uuid.UUID, kind: Kind, query: Mapping[str, str], base: str
) -> list[dict[str, Any]] | None:
    """Who has a value, as JSON; None for a search of another kind. Raises InvalidValueException, DatabaseError."""
    asked = _EQUALS.fullmatch(query.get("filter", ""))
    path = asked[1].lower() if asked else ""
    numbers = [query.get("startIndex", "1"), query.get("count", str(PAGE))]
    without = query.get("excludedAttributes")
    plainly = query.keys() <= _KNOWN and all(map(_NUMBER.fullmatch, numbers))
    if asked is None or path not in ATTRIBUTES[kind.name] or not plainly:
        return None
    first, count = map(int, numbers)
    if first != 1 or not count or without not in (None, kind.relation):
        return None
    lookup = _lookup(kind.name, path)
    said = {"tenant_id": tenant_id, _VALUE: lookup.folded(asked[2])}
    statements = [lookup.rows, lookup.entries][: 1 if without else 2]
    rows, *more = await unit.told(*(each.asked(**said) for each in statements))
    if len(rows) >= min(count, MAX_RESULTS):
        return None
    entries = entries_of(kind, more[0]) if more else {}
    return [plain(kind, row, entries.get(row.id), base) for row in rows]
