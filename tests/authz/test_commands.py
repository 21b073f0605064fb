"""`caretree policy`: what it prints is what the templates say."""

import json

import pytest
from typer.testing import CliRunner

from api.cli import app
from authz.templates import VARIANTS, Variant, load_policy


def run(*words: str, width: int = 80) -> tuple[int, str]:
    """The exit code and all that was printed, by `caretree policy …` on a terminal of this width."""
    result = CliRunner().invoke(app, ["policy", *words], env={"COLUMNS": str(width)})
    return result.exit_code, result.output


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_the_matrix_as_json_is_the_templates(variant: Variant) -> None:
    admins, _, viewer = variant.name.partition("+")
    code, text = run(
        "matrix", "--json", "--admins", admins, *(["--viewer-clinical"] if viewer else [])
    )
    policy = load_policy(variant)
    printed = {(e["permission"], e["role"]) for e in json.loads(text)}

    assert code == 0
    assert printed == {
        (name, role) for name, template in policy.permissions.items() for role in template.roles
    }


def test_the_matrix_fits_a_narrow_terminal_and_explains_its_marks() -> None:
    code, text = run("matrix", "--resource", "note")

    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "nu nurse" in text
    assert "where author_id = actor and kind = nursing" in text


def test_a_wide_terminal_gets_whole_names() -> None:
    code, text = run("matrix", width=200)

    assert code == 0
    assert "director" in text
    assert "patient:read_clinical" in text


def test_an_unknown_resource_is_an_error() -> None:
    code, text = run("matrix", "--resource", "dream")

    assert code == 1
    assert "No policy speaks of this resource." in " ".join(text.split())


def test_the_committed_templates_are_what_the_compiler_makes() -> None:
    code, text = run("compile", "--check")

    assert code == 0
    assert "up to date" in text
