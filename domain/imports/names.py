"""Names of people, https://hl7.org/fhir/R4/datatypes.html#HumanName"""

from dataclasses import dataclass

from domain.errors import Invalid
from domain.imports.fields import Reader
from domain.plain_text import optional_line

# The first of these that there is; a name without a use is as good as a usual one.
PREFERRED = ("official", "usual", "", "temp", "anonymous")
FORMER = ("maiden", "old")


@dataclass(frozen=True)
class Name:
    """Given names in one line, and the family name."""

    given: str | None
    family: str | None


def official(resource: Reader) -> Name:
    """The name to address somebody by. Raises Fault when there is none."""
    listed = {part.text("use") or "": part for part in reversed(resource.parts("name"))}
    chosen = next((listed[use] for use in PREFERRED if use in listed), None)
    if chosen is None:
        raise resource.fault("name", "There is no name that is in use.")
    return _name(chosen)


def nickname(resource: Reader) -> str | None:
    """What somebody likes to be called."""
    for part in resource.parts("name"):
        if part.text("use") == "nickname":
            return " ".join(part.texts("given")) or part.text("text")
    return None


def former(resource: Reader) -> list[dict[str, str]]:
    """Earlier names, as they are stored: family, given and, where it is known, until when."""
    found = []
    for part in resource.parts("name"):
        if part.text("use") not in FORMER:
            continue
        name, period = _name(part), part.part("period")
        end = period.text("end") if period else None
        try:
            family, given = (optional_line(text) or "" for text in (name.family, name.given))
        except Invalid as error:
            raise part.fault("", error.message) from None
        entry = {"family": family, "given": given}
        found.append(entry | ({"until": end[:10]} if end else {}))
    return found


def _name(part: Reader) -> Name:
    """A name in parts; of one that is written in one line the last word is taken for the family's."""
    family, given = part.text("family"), " ".join(part.texts("given")) or None
    text = part.text("text")
    if text and not family and not given:
        first, _, last = text.rpartition(" ")
        return Name(first or None, last)
    return Name(given, family)
