"""Codes of medical code systems as inputs: system, code, and what it means in words."""

import strawberry

from domain.codings import Coding


@strawberry.input(name="CodingInput", description="A code of a code system, kept as data.")
class CodingInput:
    system: str = strawberry.field(description="URI of the code system, as FHIR has it.")
    code: str = strawberry.field(description="The code.")
    display: str | None = strawberry.field(default=None, description="The code in words.")


def coding(given: CodingInput) -> Coding:
    """The input as the domain takes it."""
    return Coding(given.system, given.code, given.display)
