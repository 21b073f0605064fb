"""Pages of docs/ that the code writes: the tables and how they hang together, and which state may follow which."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import ForeignKeyConstraint

import domain
from domain.model import Base, Wall
from domain.tables import load

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- written by `caretree dev reference` -->", "<!-- end of what is written -->"
WALLS = {
    Wall.TENANT: "health system",
    Wall.PLACED: "place",
    Wall.SITE: "place",
    Wall.PATIENT: "patient's places",
}
EVERYWHERE = frozenset({"tenant", "org_unit", "patient_site", "person"})
"""Parents of nearly every table: the text says so once, arrows to them would hide the others."""


def pages() -> dict[Path, str]:
    """Each page with what it should say now. Raises LookupError for a page without the marks."""
    modules = tuple(_modules())
    found = {"data-model.md": data_model(), "states.md": states(modules)}
    return {DOCS / name: _between(DOCS / name, text) for name, text in found.items()}


def stale() -> list[Path]:
    """The pages that say something else."""
    return [path for path, text in pages().items() if path.read_text() != text]


def write() -> list[Path]:
    """Bring the pages up to date; those that were not."""
    changed = stale()
    for path, text in pages().items():
        path.write_text(text)
    return changed


def _between(path: Path, text: str) -> str:
    page = path.read_text()
    head, begun, rest = page.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not (begun and ended):
        raise LookupError(f"{path.name} has no place for what is written.")
    return f"{head}{BEGIN}\n\n{text}\n{END}{tail}"


# -- tables ---------------------------------------------------------------------------------------


def data_model() -> str:
    """For each subject its tables, in words and as a diagram (Mermaid)."""
    subjects: dict[str, list[type[Base]]] = {}
    load()
    for mapper in sorted(Base.registry.mappers, key=lambda m: m.class_.__tablename__):
        subjects.setdefault(mapper.class_.__module__.split(".")[1], []).append(mapper.class_)
    return "\n".join(_subject(name, subjects[name]) for name in sorted(subjects))


def _subject(name: str, classes: list[type[Base]]) -> str:
    heading = name.replace("_", " ").capitalize()
    lines = [f"## {heading}", "", "| table | seen by | what |", "| --- | --- | --- |"]
    lines += [f"| `{c.__tablename__}` | {WALLS[c.__wall__]} | {_said(c)} |" for c in classes]
    arrows = sorted({arrow for class_ in classes for arrow in _arrows(class_)})
    if arrows:
        lines += ["", "```mermaid", "erDiagram", *(f"    {arrow}" for arrow in arrows), "```"]
    return "\n".join([*lines, ""])


def _said(class_: type) -> str:
    """The first sentence of what the class says of itself."""
    text = (inspect.getdoc(class_) or "").split("\n\n")[0].replace("\n", " ")
    return text.split(". ")[0].rstrip(".").replace("|", "\\|")


def _arrows(class_: type[Base]) -> Iterator[str]:
    table: Any = class_.__table__
    for constraint in table.constraints:
        if not isinstance(constraint, ForeignKeyConstraint):
            continue
        parent = constraint.referred_table.name
        if parent in EVERYWHERE:
            continue
        to = {element.column.name: element.parent for element in constraint.elements}
        optional = any(column.nullable for column in to.values())
        label = to["id"] if "id" in to else next(reversed(to.values()))
        yield f"{parent} {'|o' if optional else '||'}--o{{ {table.name} : {label.name}"


# -- states ---------------------------------------------------------------------------------------


def states(modules: tuple[ModuleType, ...]) -> str:
    """For each subject with states a table: what may follow each."""
    found = {**_declared(), **_listed(modules)}
    return "\n".join(_moves(found[name], name) for name in sorted(found))


def _declared() -> dict[str, Mapping[StrEnum, frozenset[StrEnum]]]:
    """Tables of records, by what people call them."""
    declared = (getattr(m.class_, "__states__", None) for m in Base.registry.mappers)
    return {table.what: table.moves for table in declared if table is not None}


def _listed(
    modules: tuple[ModuleType, ...],
) -> dict[str, Mapping[StrEnum, frozenset[StrEnum]]]:
    """Tables that a module keeps as MOVES, by the name of their states."""
    out = {}
    for module in modules:
        moves = vars(module).get("MOVES")
        if isinstance(moves, Mapping):
            (states,) = {type(state) for state in moves}
            out[_words(states.__name__)] = moves
    return out


def _words(name: str) -> str:
    """`ClaimQueue` as "claim queue", `AppointmentState` as "appointment"."""
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).split()
    return " ".join(words[:-1] if words[-1] == "state" else words)


def _moves(moves: Mapping[StrEnum, frozenset[StrEnum]], name: str) -> str:
    lines = [f"## {name.capitalize()}", "", "| state | may become |", "| --- | --- |"]
    for state in type(next(iter(moves))):
        following = [then.value for then in type(state) if then in moves.get(state, ())]
        lines.append(f"| {state.value} | {', '.join(following) or '–'} |")
    return "\n".join([*lines, ""])


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(domain.__path__, "domain."):
        importlib.import_module(found.name)
        yield sys.modules[found.name]
