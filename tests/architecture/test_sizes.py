"""What a reader can hold in mind: modules, functions, names."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ALL, PRODUCT, modules, outline
from tests.database import ROOT

MODULE = 400
TEST_MODULE = 600
FUNCTION = 60
FORBIDDEN_NAMES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "manager",
    "service",
    "base",
    "misc",
    "core",
}


@pytest.mark.parametrize("path", modules(*ALL), ids=str)
def test_a_module_is_short(path: Path) -> None:
    limit = TEST_MODULE if path.parts[0] == "tests" else MODULE
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= limit, (
        f"{lines} lines, at most {limit}: make it a folder of the same import path"
    )


@pytest.mark.parametrize("path", modules(*ALL), ids=str)
def test_a_function_is_short(path: Path) -> None:
    for name, lines in outline(path).functions:
        assert lines <= FUNCTION, f"{name} has {lines} lines, at most {FUNCTION}"


def test_no_function_is_complex() -> None:
    """McCabe's number is at most 10 everywhere; nobody silences the check."""
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--select",
            "C90",
            "--ignore-noqa",
            "--no-cache",
            *ALL,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout


def test_a_name_says_what_is_inside() -> None:
    for path in modules(*ALL):
        assert not {path.stem, *path.parts[:-1]} & FORBIDDEN_NAMES, path


def test_product_modules_and_their_public_functions_are_explained() -> None:
    for path in modules(*PRODUCT, "migrations"):
        assert outline(path).explained, f"{path} does not say what it is for"


def test_an_ignored_type_error_has_its_reason_beside_it() -> None:
    mark = "type:" + " ignore"
    for path in modules(*ALL):
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            if mark in line:
                assert "#" in line.split(mark, 1)[1], f"{path}:{number} gives no reason"


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    marks = ["pytest." + name for name in ("skip(", "mark.skip", "xfail(", "mark.xfail")]
    for path in modules("tests"):
        source = (ROOT / path).read_text()
        assert not any(mark in source for mark in marks), path
