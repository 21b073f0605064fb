"""What the policy files may say. Oso's data filtering is right for a subset of Polar only; outside of it the compiled
filter silently differs from the decision, so anything else keeps the templates from being made."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from authz.reach import Reach
from authz.templates import PolicyError

_STRINGS_AND_COMMENTS = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*')
_FORBIDDEN = re.compile(
    r"\b(?:cut|not|forall|print|debug|new|nil)\b|[=!<>]=|<|>|\*|\+|(?<=\s)-|\?="
)
_RESOURCE = re.compile(r"^resource\s+(\w+)\s*\{(.*?)^\}", re.MULTILINE | re.DOTALL)
_STRING = re.compile(r'"([^"]*)"')
_RELATION = re.compile(r"(\w+)\s*:\s*(\w+)")
PLACE = "Unit"
"""The one type that roles are held at."""


@dataclass(frozen=True)
class Declaration:
    """A resource block: what one may do, and by which relations roles reach it."""

    name: str
    permissions: tuple[str, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True)
class Declarations:
    """Everything that the files declare."""

    resources: Mapping[str, Declaration]
    roles: tuple[str, ...]


def check(text: str) -> None:
    """Refuse words and operators that a filter cannot carry. Raises PolicyError naming the first."""
    found = _FORBIDDEN.search(_STRINGS_AND_COMMENTS.sub('""', text))
    if found:
        raise PolicyError(
            f"a policy uses {found.group(0)!r}: the filter would differ from the decision"
        )


def declarations(files: Sequence[Path]) -> Declarations:
    """Read the resource blocks. Raises PolicyError for a forbidden word, a block twice, an unknown relation."""
    resources: dict[str, Declaration] = {}
    roles: tuple[str, ...] = ()
    for file in files:
        text = file.read_text()
        check(text)
        for name, body in _RESOURCE.findall(text):
            if name in resources or (name == PLACE and roles):
                raise PolicyError(f"resource {name} is declared twice")
            if name == PLACE:
                roles = _listed(body, "roles")
                continue
            resources[name] = _declaration(name, body)
    if not roles or not resources:
        raise PolicyError("the policies declare no roles or no resources")
    return Declarations(resources, roles)


def _declaration(name: str, body: str) -> Declaration:
    permissions = _listed(body, "permissions")
    block = re.search(r"relations\s*=\s*\{([^}]*)\}", body)
    relations = _RELATION.findall(block.group(1)) if block else []
    known = {r.value for r in Reach}
    if not permissions or not relations:
        raise PolicyError(f"{name} declares no permissions or no relation to a place")
    if any(relation not in known or to != PLACE for relation, to in relations):
        raise PolicyError(f"{name} is reached by a relation that no scope knows")
    return Declaration(name, permissions, tuple(relation for relation, _ in relations))


def _listed(body: str, key: str) -> tuple[str, ...]:
    block = re.search(rf"{key}\s*=\s*\[([^\]]*)\]", body)
    plain = re.sub(r"#[^\n]*", "", block.group(1)) if block else ""
    return tuple(_STRING.findall(plain))
