"""The benchmark of directories, in its short form: everything is measured at both, and what is missed is said."""

from pathlib import Path

import pytest

from dev.bench_scim.contest import Figure
from dev.bench_scim.main import MEMORY, Found, measure
from dev.bench_scim.operations import Operation, operations
from dev.databases import DatabaseUrls
from tests.database import Database


def test_everything_is_measured_at_the_product_and_at_the_stock_core(
    empty_database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = empty_database
    urls = DatabaseUrls(
        bare.owner_url, bare.app_url, bare.worker_url, bare.audit_url, bare.platform_url
    )
    found = measure(urls, tmp_path, users=200, effort=10)
    names = [operation.name for operation in found.operations]
    assert len(names) == 9
    assert {name for who, name in found.figures if who == "product"} == set(names)
    assert {name for who, name in found.figures if who == "stock"} >= set(names[2:])
    assert all(figure.value > 0 for figure in found.figures.values())
    bars = [bar.name for bar in found.bars()]
    assert bars[:9] == names
    assert bars[9:] == ["memory of a PUT of 10,000 members"]
    assert len(found.lines()) == len(bars) + 1
    assert "product" in capsys.readouterr().out


def test_what_is_missed_is_said() -> None:
    patches = [Operation(f"member PATCH, group of {n}", [], 5) for n in (10, 50_000)]
    posts = [Operation(f"POST of {who}", [], 150, "/s") for who in ("a user", "another")]
    found = Found([*patches, *posts], memory={"product": MEMORY + 1, "stock": 0.0})
    for operation, value in zip(found.operations, (1.0, 4.0, 80.0, 150.0), strict=True):
        found.figures["product", operation.name] = Figure(value, 9.0, 1.0, 1.0)
    reached = {bar.name: bar.is_reached for bar in found.bars()}
    assert reached == {
        "member PATCH, group of 10": True,
        "member PATCH, group of 50000": True,
        "POST of a user": False,
        "POST of another": True,
        "member PATCH, largest group to smallest": False,
        "memory of a PUT of 10,000 members": False,
    }
    said = {line.split("  ")[0]: line for line in found.lines()[1:]}
    assert {name: "pass" in line for name, line in said.items()} == reached
    assert {name: "MISSED" not in line for name, line in said.items()} == reached


def test_the_measured_groups_are_as_large_as_the_directory_allows() -> None:
    assert [o.name for o in operations(50_000, 10) if o.name.startswith("member")] == [
        "member PATCH, group of 10",
        "member PATCH, group of 10000",
        "member PATCH, group of 50000",
    ]
