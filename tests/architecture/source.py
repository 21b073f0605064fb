"""The sources as the tests of the architecture read them: tracked files, parsed modules."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.database import ROOT

PRODUCT = ("api", "identity", "authz", "domain")
ALL = (*PRODUCT, "migrations", "dev", "tests")
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where Python's grammar has statements below a statement, a handler of exceptions or a case."""


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git keeps or would keep, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    return tuple(
        sorted({Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()})
    )


def modules(*packages: str) -> list[Path]:
    """The Python files of these packages, migrations' frozen versions left out, relative to the root."""
    return [
        path
        for path in tracked()
        if path.suffix == ".py" and path.parts[0] in packages and "versions" not in path.parts
    ]


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module. Not kept: each garbage collection would look through the trees of all modules."""
    return ast.parse((ROOT / path).read_text(), str(path))


@dataclass(frozen=True)
class Outline:
    """What is asked of every module. `imports`: full names, from anywhere in it; `functions`: by name, in lines."""

    explained: bool
    imports: frozenset[str]
    functions: tuple[tuple[str, int], ...]


@cache
def outline(path: Path) -> Outline:
    """The module read once."""
    tree = parsed(path)
    found = list(statements(tree))
    return Outline(
        explained=not tree.body or bool(ast.get_docstring(tree)),
        imports=frozenset(name for node in found for name in _imported(node)),
        functions=tuple(
            (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
            for node in found
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
    )


def imports(path: Path) -> frozenset[str]:
    """The full names that a module imports from, anywhere in it."""
    return outline(path).imports


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Every statement below a node, at any depth; not the expressions, of which there are eight times as many."""
    for block in BLOCKS:
        for part in getattr(node, block, ()):
            if isinstance(part, ast.stmt):
                yield part
            yield from statements(part)


def _imported(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def text(path: Path) -> str | None:
    """The content of a text file; None for what is none."""
    try:
        return (ROOT / path).read_text()
    except UnicodeDecodeError:
        return None
