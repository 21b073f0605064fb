"""At which clinic an organization of the source is: said by a file, else by `--clinic`, else spread evenly.

Once an organization is placed it stays where it is (an external reference remembers it), so that a clinic opened
later moves nothing.
"""

import csv
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Invalid
from domain.organization import Level, OrgUnit
from domain.patients import fold


@dataclass(frozen=True)
class Clinic:
    """An open clinic of the health system."""

    id: uuid.UUID
    name: str
    zone: str


@dataclass(frozen=True)
class PlaceRule:
    """`listed` maps an organization's identifier value or name to a clinic, `otherwise` takes those not listed.

    Without either every organization goes to one of `clinics`, by a hash of its identifier.
    """

    clinics: tuple[Clinic, ...]
    listed: Mapping[str, uuid.UUID] = field(default_factory=dict)
    otherwise: uuid.UUID | None = None

    def explicit(self, names: Iterable[str]) -> uuid.UUID | None:
        """What the file says of an organization with these names."""
        return next((self.listed[name] for name in names if name in self.listed), None)

    def default(self, name: str) -> uuid.UUID | None:
        """Where something not listed goes: None when there is a list, and nothing for the rest."""
        if self.otherwise is not None:
            return self.otherwise
        return None if self.listed else self.spread(name)

    def spread(self, name: str) -> uuid.UUID:
        """One of the clinics, always the same for the same name."""
        digest = hashlib.sha256(name.encode()).digest()
        return self.clinics[int.from_bytes(digest[:8], "big") % len(self.clinics)].id

    def zone(self, clinic_id: uuid.UUID) -> str:
        """The clinic's time zone; UTC for one that is closed by now."""
        return next((c.zone for c in self.clinics if c.id == clinic_id), "UTC")


async def clinics_of(session: AsyncSession, tenant_id: uuid.UUID) -> tuple[Clinic, ...]:
    """The open clinics, in the order of their ids. Raises Invalid when there is none."""
    query = (
        select(OrgUnit.id, OrgUnit.name, OrgUnit.zone)
        .where(OrgUnit.tenant_id == tenant_id, OrgUnit.level == Level.CLINIC.value, OrgUnit.active)
        .order_by(OrgUnit.id)
    )
    found = tuple(
        Clinic(row.id, row.name, row.zone or "UTC") for row in await session.execute(query)
    )
    if not found:
        raise Invalid("The health system has no open clinic.", code="NO_CLINIC")
    return found


def clinic_named(clinics: Sequence[Clinic], text: str) -> uuid.UUID:
    """The clinic of this id or name. Raises Invalid when there is none, or when several have the name."""
    wanted = fold(text)
    found = [c.id for c in clinics if str(c.id) == text.strip().lower() or fold(c.name) == wanted]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(c.name for c in clinics))
    raise Invalid(
        "Several clinics have this name; give the id."
        if found
        else f"There is no such open clinic. There are: {names}."
    )


def read_map(path: Path, clinics: Sequence[Clinic]) -> dict[str, uuid.UUID]:
    """A file that says which organization is which clinic. Raises Invalid with the line or key.

    JSON `{"organization": "clinic", …}` or CSV with two columns and no heading. An organization by the value of its
    identifier or by its name, a clinic by its id or name.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Invalid(f"The map cannot be read ({type(error).__name__}).") from None
    pairs = _json(raw) if path.suffix == ".json" else _csv(raw)
    found = {}
    for number, (organization, clinic) in enumerate(pairs, 1):
        try:
            found[organization] = clinic_named(clinics, clinic)
        except Invalid as error:
            raise Invalid(f"The map's item {number}: {error.message}") from None
    if not found:
        raise Invalid("The map is empty.")
    return found


def _json(raw: bytes) -> list[tuple[str, str]]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Invalid("The map is no JSON.") from None
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise Invalid("The map must be an object from organizations to clinics.")
    return list(document.items())


def _csv(raw: bytes) -> list[tuple[str, str]]:
    try:
        rows = [row for row in csv.reader(raw.decode("utf-8-sig").splitlines()) if any(row)]
    except UnicodeDecodeError:
        raise Invalid("The map is no UTF-8 text.") from None
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise Invalid(f"The map's line {number} must have two columns.")
    return [(row[0].strip(), row[1].strip()) for row in rows]
