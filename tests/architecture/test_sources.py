"""What must not be in the repository, and what its text promises."""

import ast
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from tests.architecture.source import modules, parsed, statements, text, tracked
from tests.database import ROOT

FLOORS = {  # docs: the table of dependencies gives the reasons
    "cryptography": "50",
    "cffi": "2",
    "strawberry-graphql": "0.341",
    "graphql-core": "3.3.0a0",
    "starlette": "1.3",
    "sqlalchemy": "2.1",
    "psycopg": "3.3",
    "joserfc": "1.7.6",
    "python-keycloak": "7.1",
    "oso": "0.27.3",
    "scim2-server": "0.8.3",
}
# Spelled in parts, so that this file does not hold what it forbids.
REGISTRIES = [
    "pypi" + ".org", "python" + "hosted.org", "crates" + ".io", "proxy.golang" + ".org", "registry.npmjs" + ".org",
    "repo1.maven" + ".org", "repo.maven" + ".apache.org", "deb.debian" + ".org",
]  # fmt: skip
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|home|Users|tmp/\w)[/\w]")


@pytest.mark.parametrize("package", FLOORS)
def test_no_package_is_older_than_its_floor(package: str) -> None:
    assert Version(version(package)) >= Version(FLOORS[package])


def test_packages_fit_together_but_for_one_known_line() -> None:
    """oso pins an old cffi, and runs on the new one: decided in the lock, and the only such case."""
    told = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "check", "--python", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in told.stderr.splitlines() if line.startswith("The package")]
    assert len(complaints) == 1
    assert re.match(r"The package `oso` requires `cffi~=1\.15`", complaints[0])


def test_no_tracked_file_names_a_registry() -> None:
    for path in tracked():
        found = [host for host in REGISTRIES if host in (text(path) or "")]
        assert not found, f"{path} names {found}"


def test_no_tracked_file_knows_a_machines_paths() -> None:
    for path in tracked():
        for number, line in enumerate((text(path) or "").splitlines(), 1):
            assert not MACHINE_PATHS.search(line), f"{path}:{number}: {line.strip()[:80]}"


LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
QUOTED = re.compile(
    r"`((?:api|identity|authz|domain|migrations|dev|tests|docs|keycloak-realms)/[\w./-]+\w)`"
)


@pytest.mark.parametrize("path", [p for p in tracked() if p.suffix == ".md"], ids=str)
def test_what_a_page_points_to_is_there(path: Path) -> None:
    page = (ROOT / path).read_text()
    for target in LINK.findall(page):
        if "://" not in target and not target.startswith("mailto:"):
            assert ((ROOT / path).parent / target).exists(), f"{path} links to {target}"
    for name in QUOTED.findall(page):
        assert list(ROOT.glob(name)), f"{path} speaks of {name}"


def from_domain(path: Path) -> set[str]:
    """The capitalised names that a module takes from `domain`: its records among them. The registry is no tenant's."""
    return {
        alias.asname or alias.name
        for node in statements(parsed(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "domain"
        if node.module != "domain.control"
        for alias in node.names
        if alias.name[0].isupper()
    }


def test_api_makes_no_first_select_of_a_tenants_table() -> None:
    """Only authz does, with the predicate on it; subjects of the planner select from the aliases that it gives."""
    for path in modules("api"):
        records = from_domain(path)
        for node in ast.walk(parsed(path)):
            if not (isinstance(node, ast.Call) and _name(node.func) == "select"):
                continue
            direct = {_name(arg) for arg in node.args} & records
            assert not direct, f"{path}:{node.lineno} selects {direct} without authz"


def test_api_writes_no_sql_text() -> None:
    """Text slips past the guarded session; settings and the planner's literals are the driver's."""
    for path in modules("api"):
        taken = {
            alias.name
            for node in statements(parsed(path))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
            for alias in node.names
        }
        assert "text" not in taken, path


def _name(node: ast.expr) -> str:
    """`Patient` for `Patient` and for `Patient.id`; the last part of a function's name."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id
    return node.id if isinstance(node, ast.Name) else ""
