"""Practitioner, https://hl7.org/fhir/R4/practitioner.html

An imported practitioner has treated patients; nobody can be booked with them until a clinic says so.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select

from domain.errors import Invalid
from domain.imports.bundles import Entry, Key
from domain.imports.kinds import Kind
from domain.imports.names import official
from domain.imports.rows import keep
from domain.imports.work import Draft, Work
from domain.plain_text import name, optional_line
from domain.practitioners import NPI, Practitioner

NPI_SYSTEM = "http://hl7.org/fhir/sid/us-npi"


def names(entry: Entry) -> Iterable[Key]:
    """The National Provider Identifier before others."""
    keys = [key for key, _, _ in entry.identifiers()]
    return sorted(keys, key=lambda key: key.source != NPI_SYSTEM)


def npi(entry: Entry) -> str | None:
    """The NPI, if it has the form of one."""
    values = (key.value for key, _, _ in entry.identifiers() if key.source == NPI_SYSTEM)
    return next((value for value in values if NPI.fullmatch(value)), None)


def draft(entry: Entry, work: Work) -> Draft:
    """Name, specialty and NPI. Raises Fault, Invalid."""
    called = official(entry.resource)
    qualified = entry.resource.parts("qualification")
    codes = [part for q in qualified if (part := q.part("code")) is not None]
    try:
        values = {
            "given_name": name(called.given or "", "name"),
            "family_name": name(called.family or "", "name"),
            "specialty": optional_line(codes[0].text("text") if codes else None, "qualification"),
        }
    except Invalid as error:
        raise entry.resource.fault(".".join(error.path), error.message) from None
    return Draft(
        entry,
        work.local[entry.index],
        {
            **values,
            "npi": npi(entry),
            "active": entry.resource.flag("active") is not False,
        },
    )


async def find(work: Work, entries: Sequence[Entry]) -> Mapping[int, uuid.UUID]:
    """Practitioners of the health system with the same NPI."""
    wanted = {number: entry.index for entry in entries if (number := npi(entry))}
    if not wanted:
        return {}
    query = select(Practitioner.npi, Practitioner.id).where(
        Practitioner.tenant_id == work.agent.tenant_id, Practitioner.npi.in_(wanted)
    )
    return {wanted[row.npi]: row.id for row in await work.session.execute(query)}


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await keep(work, Practitioner, drafts)


KIND = Kind("Practitioner", draft, write, names=names, find=find)
