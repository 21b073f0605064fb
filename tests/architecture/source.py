"""The sources as the tests of the architecture read them: tracked files, parsed modules."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.database import ROOT

PRODUCT = ("api", "identity", "authz", "domain")
ALL = (*PRODUCT, "migrations", "dev", "tests")


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


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse((ROOT / path).read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """The full names that a module imports from, anywhere in it."""
    for node in ast.walk(parsed(path)):
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
