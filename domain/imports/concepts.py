"""CodeableConcepts, https://hl7.org/fhir/R4/datatypes.html#CodeableConcept: the code that is stored, and the words."""

from collections.abc import Iterator, Sequence

from domain.codings import CodeSystem
from domain.errors import Invalid
from domain.imports.fields import Reader
from domain.imports.work import Skip, Work
from domain.plain_text import optional_line, optional_passage


def words(concept: Reader | None) -> str | None:
    """As written, else the display of a code."""
    if concept is None:
        return None
    shown = (coding.text("display") for coding in concept.parts("coding"))
    return concept.text("text") or next((text for text in shown if text), None)


def codes(concept: Reader | None) -> Iterator[tuple[str, str]]:
    """System (or nothing) and code of each coding."""
    for coding in concept.parts("coding") if concept else ():
        if code := coding.text("code"):
            yield coding.text("system") or "", code


def first_code(holder: Reader, key: str) -> str | None:
    """The first code of a concept whose values FHIR fixes, such as a clinical status."""
    return next((code for _, code in codes(holder.part(key))), None)


def coding_of(
    concept: Reader | None, systems: Sequence[CodeSystem], work: Work
) -> dict[str, str | None] | None:
    """The columns of the first coding that one of the systems can have; None where there is none."""
    for system, code in codes(concept):
        for known in systems:
            if known.uri == system and known.has(code):
                assert concept is not None
                display = one_line(words(concept), concept, "text", work)
                return {"code_system": system, "code": code, "display": display}
    return None


def needed_coding(
    concept: Reader | None, systems: Sequence[CodeSystem], work: Work
) -> dict[str, str | None]:
    """As `coding_of`. Raises Skip where there is none."""
    found = coding_of(concept, systems, work)
    if found is None:
        raise Skip(f"it has no code of {' or '.join(system.name for system in systems)}")
    return found


def one_line(
    value: str | None, holder: Reader, key: str, work: Work, maximum: int = 200
) -> str | None:
    """The text as a line; left out and counted where it cannot be stored."""
    try:
        return optional_line(value, maximum=maximum)
    except Invalid as error:
        work.leave_out(holder, key, error.message.rstrip("."))
        return None


def several_lines(value: str | None, holder: Reader, key: str, work: Work) -> str | None:
    """The text as a passage; left out and counted where it cannot be stored."""
    try:
        return optional_passage(value)
    except Invalid as error:
        work.leave_out(holder, key, error.message.rstrip("."))
        return None
