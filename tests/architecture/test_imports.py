"""Who may know whom: api asks identity who, authz whether, domain what."""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.architecture.source import PRODUCT, imports, modules
from tests.database import ROOT

ONLY_IN = {  # a library: the modules (by prefix) that may import it
    "oso": ("authz/policy.py",),
    "polar": ("authz/policy.py",),
    "keycloak": ("identity/",),
    "onelogin": ("identity/",),
    "scim2_server": ("identity/",),
    "strawberry": ("api/",),
    "starlette": ("api/", "identity/"),
    "joserfc": ("identity/",),
    "procrastinate": ("identity/", "api/", "domain/"),
}
NEVER = {  # and why; see docs and the table of dependencies
    "requests": "httpx is there",
    "authlib.jose": "joserfc is its successor",
    "passlib": "no password is ours",
    "unidecode": "its licence; anyascii is there",
    "names_dataset": "leaked data",
    "aiocache": "caches of ours are small and bounded",
    "unittest.mock": "no mocks of our own code",
}


def test_the_contracts_of_the_project_hold() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "0 broken" in told.stdout


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    present = [package for package in PRODUCT if (ROOT / package / "__init__.py").exists()]
    return grimp.build_graph(*present, cache_dir=None, exclude_type_checking_imports=True)


@pytest.mark.parametrize("package", PRODUCT)
def test_no_package_imports_itself_in_a_circle(graph: grimp.ImportGraph, package: str) -> None:
    """A folder counts as one module: its `__init__` gathers what its files offer."""
    inside = {m for m in graph.modules if m == package or m.startswith(f"{package}.")}
    ahead = {m: set(graph.find_modules_directly_imported_by(m)) & inside for m in inside}
    try:
        TopologicalSorter(ahead).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_nothing_of_the_product_imports_dev_tests_or_migrations() -> None:
    for path in modules(*PRODUCT, "migrations"):
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"dev", "tests", "pytest"}, path
        assert "migrations" not in names or path.parts[0] in ("migrations", "api", "identity"), path


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_where_it_belongs_only(library: str) -> None:
    for path in modules(*PRODUCT):
        if any(name == library or name.startswith(f"{library}.") for name in imports(path)):
            assert path.as_posix().startswith(ONLY_IN[library]), f"{path} imports {library}"


@pytest.mark.parametrize("library", NEVER)
def test_what_we_decided_against_stays_out(library: str) -> None:
    for path in modules(*PRODUCT, "dev", "tests"):
        taken = [n for n in imports(path) if n == library or n.startswith(f"{library}.")]
        assert not taken, f"{path}: {NEVER[library]}"


def test_domain_knows_nothing_else_of_ours() -> None:
    for path in modules("domain"):
        for name in imports(path):
            assert name.split(".")[0] not in {"api", "identity", "authz"}, f"{path} imports {name}"


def test_every_package_is_looked_at() -> None:
    assert {Path(m).parts[0] for m in modules(*PRODUCT)} == set(PRODUCT)
