"""A transaction bundle's bytes, checked: entries, the names under which they are known, what they refer to.

https://hl7.org/fhir/R4/bundle.html. Only what identifies a resource is read here; the kinds read the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from domain.imports.faults import Fault, Faults
from domain.imports.fields import Reader
from domain.imports.resource_types import RESOURCE_TYPES
from domain.plain_text import UNSTORABLE, has_unseen

FULL_URL = "fullUrl"
METHODS = ("POST", "PUT")
ABSOLUTE = ("urn:uuid:", "urn:oid:", "http://", "https://")


@dataclass(frozen=True)
class Key:
    """A name that a source gives a resource: the identifier's system and value, or its `fullUrl`."""

    type: str
    source: str
    value: str


@dataclass(frozen=True)
class Entry:
    """A resource of the bundle. `index` counts from 0."""

    index: int
    type: str
    full_url: str | None
    resource: Reader

    @property
    def own_url(self) -> Key | None:
        """The entry's own address, if it holds beyond this bundle."""
        if self.full_url is None or not self.full_url.startswith(ABSOLUTE):
            return None
        return Key(self.type, FULL_URL, self.full_url)

    @property
    def name(self) -> tuple[str, str | None]:
        """What reports may call it: its type, and its address or id."""
        id_ = self.resource.value.get("id")
        return self.type, self.full_url or (id_ if isinstance(id_, str) else None)

    def identifiers(self) -> Iterator[tuple[Key, str, str]]:
        """Each identifier with system and value: its key, the code of its type (HL7 v2 table 0203) or '', its use."""
        for identifier in self.resource.parts("identifier"):
            system, value = identifier.text("system"), identifier.text("value")
            if system and value:
                if has_unseen(system + value):
                    raise identifier.fault("value", UNSTORABLE)
                yield (
                    Key(self.type, system, value),
                    type_code(identifier),
                    identifier.text("use") or "",
                )


def type_code(identifier: Reader) -> str:
    """What sort of identifier it is: `MR`, `SS`, …; empty when it does not say."""
    kind = identifier.part("type")
    codes = [c.text("code") for c in kind.parts("coding")] if kind else []
    return next((code for code in codes if code), "")


def parse(raw: bytes) -> list[Entry]:
    """The entries of a transaction bundle. Raises Faults when it is none, or when an entry is no resource."""
    bundle = _bundle(raw)
    entries, faults = [], []
    for index, listed in enumerate(bundle):
        try:
            entries.append(_entry(index, listed))
        except Fault as fault:
            faults.append(fault.at(index))
    urls: set[str] = set()
    for entry in entries:
        if entry.full_url in urls:
            faults.append(
                Fault("Another entry has this fullUrl.", path=FULL_URL, entry=entry.index)
            )
        elif entry.full_url is not None:
            urls.add(entry.full_url)
    if faults:
        raise Faults(*faults)
    return entries


def _bundle(raw: bytes) -> list[Any]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # orjson's own text quotes nothing of the document.
        raise Faults(Fault(f"This is no JSON: {error}.")) from None
    if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
        raise Faults(Fault("This is no FHIR Bundle.", path="resourceType"))
    if document.get("type") != "transaction":
        raise Faults(Fault("Only transaction bundles are taken.", path="type"))
    listed = document.get("entry", [])
    if not isinstance(listed, list):
        raise Faults(Fault("This must be a list.", path="entry"))
    return listed


def _entry(index: int, listed: object) -> Entry:
    if not isinstance(listed, dict):
        raise Fault("This must be an object.")
    entry = Reader(listed, "")
    resource = entry.part("resource")
    if resource is None:
        raise Fault("This is missing.", path="resource")
    type_ = Reader(resource.value, "resource").need("resourceType")
    if type_ not in RESOURCE_TYPES:
        raise Fault("This is no resource type of FHIR R4.", path="resource.resourceType")
    request = entry.part("request")
    if request is not None:
        _check_request(request, type_)
    return Entry(index, type_, entry.text(FULL_URL), Reader(resource.value, type_))


def _check_request(request: Reader, type_: str) -> None:
    if request.need("method") not in METHODS:
        raise request.fault("method", "Only POST and PUT are taken.")
    target = (request.text("url") or type_).partition("?")[0].partition("/")[0]
    if target != type_:
        raise request.fault("url", "This is for another resource type than the entry's resource.")


def references(value: object) -> Iterator[str]:
    """Every literal reference anywhere inside a resource. Without recursion: the input decides how deep it is."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, list):
            waiting.extend(inner)
        elif isinstance(inner, dict):
            waiting.extend(inner.values())
            reference = inner.get("reference")
            if isinstance(reference, str):
                yield reference
