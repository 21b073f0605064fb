"""`caretree import fhir`: what a person sees, and what a script gets."""

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner, Result

from api.commands.import_ import app
from domain.control import IdentityCluster, TenantEntry
from domain.key_providers import FileKeyProvider
from domain.sealing import Keyring
from tests import make
from tests.database import ROOT, Database
from tests.domain.imports import money
from tests.domain.imports.bundles import bundle, patient, visit


@pytest.fixture
def tree(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> make.Tree:
    """A health system that is in the registry, with keys, and settings that lead to it."""
    tree = make.tree(clinics=2)
    make.save(database, *tree.rows)
    tenant_id = tree.tenant.tenant_id
    cluster = uuid.uuid4()
    with database.owner_engine.begin() as owner:
        place = {"id": cluster, "name": f"c{cluster}", "region": "nowhere"}
        url = "http://localhost"
        owner.execute(insert(IdentityCluster).values(**place, url=url, public_url=url))
        entry = {
            "id": tenant_id,
            "slug": tree.tenant.slug[:39],
            "cell": "main",
            "region": "nowhere",
        }
        realm = {"realm": f"o{tenant_id.hex}", "issuer": f"{url}/realms/{tenant_id}"}
        owner.execute(
            insert(TenantEntry).values(
                **entry, **realm, identity_cluster_id=cluster, state="active"
            )
        )
    cell = database.async_engine("caretree_app")
    asyncio.run(Keyring(FileKeyProvider(tmp_path / "keys"), cell).create(tenant_id))
    monkeypatch.setenv("CARETREE_DATABASE_URL", database.app_url)
    monkeypatch.setenv("CARETREE_KEY_FILE", str(tmp_path / "keys"))
    return tree


def call(tree: make.Tree, *arguments: object) -> Result:
    slug = tree.tenant.slug[:39]
    return CliRunner().invoke(app, ["fhir", "--tenant", slug, *map(str, arguments)])


def test_a_report_to_read_and_one_for_scripts(tree: make.Tree, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(visit())
    result = call(tree, tmp_path / "b.json", "--clinic", "clinic 1")
    assert result.exit_code == 0, result.output
    assert "Encounter" in result.output
    assert "1 bundles, 0 failed" in result.output
    result = call(tree, tmp_path / "b.json", "--json")
    report = json.loads(result.stdout)
    assert report["types"]["Patient"] == {
        "taken": 0,
        "changed": 0,
        "unchanged": 1,
        "skipped": {},
        "leftOut": {},
    }
    assert (report["bundles"], report["failed"], report["problems"]) == (1, 0, [])


def test_money_is_compared_with_its_source(tree: make.Tree, tmp_path: Path) -> None:
    settled = money.answer(money.said(1, 64.004))
    (tmp_path / "b.json").write_bytes(money.billed(money.claim(money.item(1, 80)), settled))
    result = call(tree, tmp_path / "b.json")
    assert "charged: source 80.00 USD, stored 80.00" in result.output
    assert "paid: source 64.00 USD (before rounding 64.004), stored 64.00" in result.output
    assert json.loads(call(tree, tmp_path, "--json").stdout)["money"]["paid"]["stored"] == "64.00"


def test_as_a_process_of_its_own(tree: make.Tree, tmp_path: Path) -> None:
    """Nothing that other tests have imported helps it."""
    (tmp_path / "b.json").write_bytes(visit())
    command = [sys.executable, "-m", "api.cli", "import", "fhir", "--tenant", tree.tenant.slug[:39]]
    done = subprocess.run(
        [*command, str(tmp_path / "b.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 bundles, 0 failed" in done.stdout


def test_what_is_wrong_is_told_and_ends_with_1(tree: make.Tree, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(bundle(patient(birthDate="Xyzzy")))
    (tmp_path / "b.json").write_bytes(visit())
    result = call(tree, tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path}/a.json, entry 0 (Patient.birthDate): This is no date." in result.output
    assert "Xyzzy" not in result.output
    assert "2 bundles, 1 failed" in result.output
    report = json.loads(call(tree, tmp_path, "--json", "--stop-on-error").stdout)
    assert report["bundles"] == 1
    assert report["problems"][0]["path"] == "Patient.birthDate"


def test_a_dry_run_says_so(tree: make.Tree, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(visit())
    result = call(tree, tmp_path / "b.json", "--dry-run")
    assert result.exit_code == 0
    assert "nothing was kept" in result.output
    assert json.loads(call(tree, tmp_path, "--json").stdout)["types"]["Patient"]["taken"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clinic", "Atlantis"], "There is no such open clinic"),
        (["--map", "missing.csv"], "The map cannot be read"),
        (["--tenant", "nobody"], "There is no active health system nobody."),
    ],
)
def test_a_wish_that_cannot_be_met(
    tree: make.Tree, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = call(tree, tmp_path, *arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_a_health_system_whose_keys_are_gone(tree: make.Tree, tmp_path: Path) -> None:
    (tmp_path / "keys").unlink()
    result = call(tree, tmp_path)
    assert result.exit_code == 1
    assert "has no key" in result.output


def test_a_database_that_is_gone(
    tree: make.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARETREE_DATABASE_URL", "postgresql://caretree_app:secret@127.0.0.1:1/x")
    result = call(tree, tmp_path)
    assert result.exit_code == 1
    assert "cannot be reached" in result.output
    assert "secret" not in result.output
