"""Codes of medical code systems, kept as data: system and code, with what the system says in words.

No terminology is shipped. What is known of a system is its address, the form of its codes and, where the system has
one, the check digit: a mistyped code is refused, an unknown one of the right form is taken.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Mapped, mapped_column

from domain.errors import Invalid
from domain.plain_text import optional_line


def mod_10(code: str) -> bool:
    """LOINC's check digit behind the hyphen: every second digit doubled, from the right (LOINC Users' Guide)."""
    digits = [int(c) for c in code.replace("-", "")]
    doubled = (d * 2 if i % 2 else d for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


# Verhoeff's multiplication and permutation, https://en.wikipedia.org/wiki/Verhoeff_algorithm#Table-based_algorithm
TIMES = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
TURNS = (
    *("0123456789", "1576283094", "5803796142", "8916043527"),
    *("9453126870", "4286573901", "2793806415", "7046913258"),
)


def verhoeff(code: str) -> bool:
    """SNOMED CT's check digit, the last one (SNOMED CT Release File Specification, 6.5)."""
    kept = 0
    for i, digit in enumerate(reversed(code)):
        kept = int(TIMES[kept][int(TURNS[i % 8][int(digit)])])
    return kept == 0


@dataclass(frozen=True)
class CodeSystem:
    """A code system: its URI in FHIR, what people call it, the form of its codes, and their check digit if any."""

    uri: str
    name: str
    form: re.Pattern[str]
    checked: Callable[[str], bool] = lambda _: True

    def has(self, code: str) -> bool:
        """Whether this can be a code of the system."""
        return self.form.fullmatch(code) is not None and self.checked(code)


LOINC = CodeSystem("http://loinc.org", "LOINC", re.compile(r"[0-9]{1,7}-[0-9]"), mod_10)
SNOMED = CodeSystem(
    "http://snomed.info/sct", "SNOMED CT", re.compile(r"[1-9][0-9]{5,17}"), verhoeff
)
ICD_10_CM = CodeSystem(
    "http://hl7.org/fhir/sid/icd-10-cm",
    "ICD-10-CM",
    re.compile(r"[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?"),
)
ICD_10_PCS = CodeSystem(
    "http://www.cms.gov/Medicare/Coding/ICD10", "ICD-10-PCS", re.compile(r"[0-9A-HJ-NP-Z]{7}")
)
RXNORM = CodeSystem(
    "http://www.nlm.nih.gov/research/umls/rxnorm", "RxNorm", re.compile(r"[1-9][0-9]{0,7}")
)
CVX = CodeSystem("http://hl7.org/fhir/sid/cvx", "CVX", re.compile(r"[0-9]{2,3}"))
CPT = CodeSystem("http://www.ama-assn.org/go/cpt", "CPT", re.compile(r"[0-9]{4}[0-9AFTU]"))

DIAGNOSES = (ICD_10_CM, SNOMED)
FINDINGS = (LOINC,)
SUBSTANCES = (RXNORM, SNOMED)
MEDICINES = (RXNORM, SNOMED)
TREATMENTS = (SNOMED, ICD_10_PCS, CPT)
VACCINES = (CVX,)
ANSWERS = (SNOMED, LOINC, ICD_10_CM)


@dataclass(frozen=True)
class Coding:
    """A code of a system, and its meaning in words. https://hl7.org/fhir/R4/datatypes.html#Coding"""

    system: str
    code: str
    display: str | None = None


class Coded:
    """The columns of a coding."""

    code_system: Mapped[str] = mapped_column(sort_order=10)
    code: Mapped[str] = mapped_column(sort_order=11)
    display: Mapped[str | None] = mapped_column(sort_order=12)


def coded(coding: Coding, systems: tuple[CodeSystem, ...], *path: str) -> dict[str, str | None]:
    """The columns of a coding of one of the systems. Raises Invalid; `path` leads to the coding in the input."""
    system = next((s for s in systems if s.uri == coding.system), None)
    if system is None:
        names = ", ".join(f"{s.name} ({s.uri})" for s in systems)
        raise Invalid(f"The code system is one of: {names}.", path=(*path, "system"))
    if not system.has(coding.code):
        raise Invalid(f"This is no code of {system.name}.", path=(*path, "code"))
    return {
        "code_system": system.uri,
        "code": coding.code,
        "display": optional_line(coding.display, *path, "display"),
    }
