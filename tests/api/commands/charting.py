"""What the mutations of a chart are about, saved, and their inputs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests import make

if TYPE_CHECKING:
    from tests.api.commands.cases import Scene

Input = dict[str, Any]
LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
RXNORM, CVX = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://hl7.org/fhir/sid/cvx"


def code(system: str, value: str) -> Input:
    return {"system": system, "code": value, "display": "Zyxwvutson"}


PULSE = {"code": code(LOINC, "8867-4"), "value": {"quantity": "72", "unit": "/min"}}


def at_visit(**values: Any) -> Callable[["Scene"], Input]:
    """Something that is recorded at a visit."""
    return lambda scene: {"encounter": f"Encounter:{scene.encounter().id}", **values}


def of_entry(
    prefix: str, made_by: Callable[..., Any], begun: Input | None = None, /, **values: Any
) -> Callable[["Scene"], Input]:
    """A change of a row of a visit's chart."""

    def given(scene: "Scene") -> Input:
        row = scene.entry(made_by, **(begun or {}))
        return {"id": f"{prefix}:{row.id}", "version": 1, **values}

    return given


def of_encounter(begun: str, /, **values: Any) -> Callable[["Scene"], Input]:
    """A step of a visit that is in a state."""

    def given(scene: "Scene") -> Input:
        row = scene.encounter(state=begun)
        return {"id": f"Encounter:{row.id}", "version": 1, **values}

    return given


def amended(scene: "Scene") -> Input:
    note = scene.note(scene.asker, state="signed")
    said = {"amendment": "ADDENDUM", "plan": "Zyxwvutson"}
    return {"id": f"Note:{note.id}", "version": 1, **said}


def revised(scene: "Scene") -> Input:
    note = scene.note(scene.asker)
    return {"id": f"Note:{note.id}", "version": 1, "subjective": "Zyxwvutson"}


def cosigned(scene: "Scene") -> Input:
    author = make.person(scene.system.tenant)
    scene.system.save(author)
    note = scene.note(author, state="signed", signed_at=make.NOW)
    return {"id": f"Note:{note.id}", "version": 1}


def struck_out(scene: "Scene") -> Input:
    row = scene.entry(make.observation, recorded_by=scene.asker.id)
    return {"id": f"Observation:{row.id}", "version": 1, "reason": "Zyxwvutson"}


def put_right(scene: "Scene") -> Input:
    row = scene.entry(make.observation, recorded_by=scene.asker.id)
    said = {"state": "CORRECTED", "value": {"quantity": "71", "unit": "/min"}}
    return {"id": f"Observation:{row.id}", "version": 1, **said}
