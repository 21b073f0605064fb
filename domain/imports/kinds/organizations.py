"""Organization: a clinic of the health system that is there already. Nothing of the organization itself is kept.

https://hl7.org/fhir/R4/organization.html
"""

import uuid
from collections.abc import Sequence

from domain.imports.bundles import Entry
from domain.imports.kinds import Kind
from domain.imports.work import Draft, Skip, Work


def _names(entry: Entry) -> list[str]:
    """What the map may call it: the values of its identifiers, its name."""
    values = [key.value for key, _, _ in entry.identifiers()]
    name = entry.resource.text("name")
    return [*values, name] if name else values


def place(entry: Entry, work: Work) -> uuid.UUID:
    """The clinic of an organization that no earlier import has placed. Raises Skip."""
    names = _names(entry)
    if (listed := work.rule.explicit(names)) is not None:
        return listed
    name = names[0] if names else entry.full_url or ""
    clinic = work.rule.default(name)
    if clinic is None:
        raise Skip("the map does not list it, and no clinic is given for the rest")
    return clinic


def draft(entry: Entry, work: Work) -> Draft:
    """Checks that the map agrees with where an earlier import has put it. Raises Fault."""
    clinic = work.local[entry.index]
    listed = work.rule.explicit(_names(entry))
    if listed is not None and listed != clinic:
        raise entry.resource.fault(
            "identifier", "An earlier import has put it at another clinic than the map says."
        )
    return Draft(entry, clinic, {})


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Nothing to write: the external reference says it all."""
    for made in drafts:
        identity = KIND.identity(made.entry)
        work.count("unchanged" if identity in work.names else "taken", made.entry)


KIND = Kind("Organization", draft, write, local=place)
