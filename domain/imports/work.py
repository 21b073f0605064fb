"""What is known while one bundle is taken: local ids of its resources, what they refer to, what is counted."""

import datetime as dt
import re
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, Text, and_, column, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.imports.bundles import ABSOLUTE, FULL_URL, Entry, Key
from domain.imports.fields import Reader
from domain.imports.places import PlaceRule
from domain.imports.recordsets import recordset
from domain.imports.reports import Tally
from domain.keys import ExternalReference, Sealer
from domain.organization import Tenant

CONDITIONAL = re.compile(r"(?P<type>[A-Za-z]+)\?identifier=(?P<system>[^|]+)\|(?P<value>.+)")
RELATIVE = re.compile(r"(?P<type>[A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})(/_history/.*)?")
# https://terminology.hl7.org/CodeSystem-v3-Confidentiality.html: restricted, very restricted
RESTRICTED = {"R": 1, "V": 2}


class Skip(Exception):
    """A resource that is left out for a reason that is no fault of the bundle."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Total:
    """What a document of the source says was `charged` or `paid`, in minor units and with fractions of them.

    `row_id` is the claim's; `fresh`: its rows were made by this bundle.
    """

    what: str
    row_id: uuid.UUID
    minor: int
    exact: Decimal
    fresh: bool


@dataclass(frozen=True)
class Visit:
    """Where, of whom and since when an encounter is."""

    clinic_id: uuid.UUID
    unit_id: uuid.UUID
    patient_id: uuid.UUID
    started_at: dt.datetime


@dataclass(frozen=True)
class Draft:
    """A resource in the form in which it is stored: the row's id and its columns."""

    entry: Entry
    id: uuid.UUID
    values: dict[str, Any]


@dataclass
class Work:
    """One bundle's. `seen` says at which clinics a patient was; `home` where they belong if nowhere was.

    `visits` are the encounters of the bundle and those that it refers to; `groups` says which observation (a panel or
    a report) another belongs to; `totals` are what is compared with the rows in the end; `policies` are the coverages of
    earlier bundles that this one names.
    """

    session: AsyncSession
    agent: Agent
    sealer: Sealer
    rule: PlaceRule
    entries: Sequence[Entry]
    tenant: Tenant
    tally: Tally = field(default_factory=Tally)
    names: dict[Key, uuid.UUID] = field(default_factory=dict)
    local: dict[int, uuid.UUID] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)
    seen: defaultdict[uuid.UUID, set[uuid.UUID]] = field(default_factory=lambda: defaultdict(set))
    home: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    sensitivity: dict[uuid.UUID, int] = field(default_factory=dict)
    touched: list[uuid.UUID] = field(default_factory=list)
    visits: dict[uuid.UUID, Visit] = field(default_factory=dict)
    groups: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    totals: list[Total] = field(default_factory=list)
    policies: dict[uuid.UUID, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_url = {e.full_url: e for e in self.entries if e.full_url is not None}
        self._by_id = {
            (e.type, e.resource.value["id"]): e
            for e in self.entries
            if isinstance(e.resource.value.get("id"), str)
        }

    def count(self, kind: str, entry: Entry) -> None:
        """Count the entry as `taken`, `changed` or `unchanged`."""
        getattr(self.tally, kind)[entry.type] += 1

    def is_new(self, entry: Entry) -> bool:
        """Whether no earlier import has taken the entry."""
        return self.local[entry.index] not in self.names.values()

    def skip(self, entry: Entry, reason: str) -> None:
        """Leave the entry out, and whatever needs it."""
        self.skipped.add(entry.index)
        self.tally.skipped[entry.type, reason] += 1

    def leave_out(self, holder: Reader, key: str, why: str) -> None:
        """Count a field of a taken resource that is not stored."""
        type_, _, path = re.sub(r"\[\d+\]", "", holder.at(key)).partition(".")
        self.tally.left_out[type_, f"{path}: {why}"] += 1

    def target(self, reference: str) -> Entry | None:
        """The entry of this bundle that is referred to."""
        if (found := self._by_url.get(reference)) is not None:
            return found
        if match := RELATIVE.fullmatch(reference):
            return self._by_id.get((match["type"], match["id"]))
        return None

    def refer(
        self, holder: Reader, key: str, type_: str, *, or_none: Iterable[str] = ()
    ) -> uuid.UUID | None:
        """The local id of what a Reference field names; None where there is no such field.

        Resources of the types `or_none` are passed over. Raises Fault when it is not there or is of another type,
        Skip when it was left out.
        """
        part = holder.part(key)
        if part is None:
            return None
        reference = part.need("reference")
        entry = self.target(reference)
        if entry is None:
            return self._known(part, reference, type_)
        if entry.type in or_none:
            return None
        if entry.type != type_:
            raise part.fault(
                "reference",
                f"This refers to a resource of type {entry.type} where {type_} belongs.",
            )
        if entry.index in self.skipped:
            raise Skip(f"its {type_} was left out")
        return self.local[entry.index]

    def _known(self, part: Reader, reference: str, type_: str) -> uuid.UUID:
        for key in possible(reference, [type_]):
            if key in self.names:
                return self.names[key]
        raise part.fault(
            "reference", f"The {type_} is neither in this bundle nor was it imported before."
        )

    async def learn(self, keys: Iterable[Key]) -> None:
        """Look up what the names became in earlier imports."""
        wanted = list(dict.fromkeys(key for key in keys if key not in self.names))
        columns = (
            ExternalReference.resource_type,
            ExternalReference.source,
            ExternalReference.external_id,
        )
        if not wanted:
            return
        lists = ([k.type for k in wanted], [k.source for k in wanted], [k.value for k in wanted])
        asked = (
            func.unnest(*(literal(each, ARRAY(Text)) for each in lists))
            .table_valued(
                *(column(name, Text) for name in ("type", "source", "value")), name="asked"
            )
            .render_derived()
        )
        same = (one == other for one, other in zip(columns, asked.c, strict=True))
        query = select(*columns, ExternalReference.local_id).join(
            asked, and_(ExternalReference.tenant_id == self.agent.tenant_id, *same)
        )
        for type_, source, value, local_id in await self.session.execute(query):
            self.names[Key(type_, source, value)] = local_id

    async def remember(self, names: Iterable[tuple[Key, uuid.UUID]]) -> None:
        """Keep which row a name became. A name that is known keeps its row."""
        rows = [
            {
                "tenant_id": self.agent.tenant_id,
                "source": key.source,
                "resource_type": key.type,
                "external_id": key.value,
                "local_id": local_id,
            }
            for key, local_id in dict(names).items()
            if key not in self.names
        ]
        if rows:
            given = recordset(ExternalReference, rows)
            table: Any = ExternalReference.__table__
            made = insert(table).from_select(given.c.keys(), select(*given.c))
            await self.session.execute(made.on_conflict_do_nothing())


def possible(reference: str, types: Collection[str]) -> Iterator[Key]:
    """The names by which something outside the bundle may be meant."""
    if match := CONDITIONAL.fullmatch(reference):
        if match["type"] in types:
            yield Key(match["type"], match["system"], match["value"])
    elif reference.startswith(ABSOLUTE):
        yield from (Key(type_, FULL_URL, reference) for type_ in types)


def restriction(resource: Reader) -> int:
    """How restricted a resource is by its security labels: 0 not, 1 restricted, 2 very restricted."""
    meta = resource.part("meta")
    labels = meta.parts("security") if meta else []
    return max((RESTRICTED.get(label.text("code") or "", 0) for label in labels), default=0)


def concept(holder: Reader, key: str) -> str | None:
    """The first text of a list of CodeableConcepts: as written, else the display of a code."""
    for part in holder.parts(key):
        for text in (part.text("text"), *(c.text("display") for c in part.parts("coding"))):
            if text:
                return text
    return None
