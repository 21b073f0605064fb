"""Files, folders and archives become a stream of bundles, with little memory."""

import random
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from domain.imports import Problem, Sources
from domain.imports.sources import Source
from tests.domain.imports.bundles import archive, bundle, patient


def names(*paths: Path, limit: int = 1 << 20) -> list[str]:
    return [
        f"! {found.message}" if isinstance(found, Problem) else Path(found.name).name
        for found in Sources(paths, limit)
    ]


def test_every_kind_of_file(tmp_path: Path) -> None:
    raw = bundle(patient())
    (tmp_path / "a.json").write_bytes(raw)
    (tmp_path / "b.ndjson").write_bytes(raw + b"\n\n" + raw)
    archive(tmp_path / "c.tar.gz", {"x/1.json": raw, "x/readme.txt": b"no", "x/2.ndjson": raw})
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as made:
        made.writestr("3.json", raw)
        made.writestr("notes.md", "no")
    (tmp_path / "e.txt").write_text("no")
    found = list(Sources([tmp_path]))
    assert all(isinstance(s, Source) and s.raw.strip() == raw for s in found)
    assert names(tmp_path) == [
        "a.json",
        "b.ndjson:1",
        "b.ndjson:3",
        "1.json",
        "2.ndjson:1",
        "3.json",
    ]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.tar.xz").write_bytes(b"not an archive")
    whole = archive(tmp_path / "whole.tar.gz", {"1.json": bundle(patient()) * 500})
    (tmp_path / "short.tar.gz").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "broken.zip").write_bytes(b"PK")
    (tmp_path / "x.exe").write_bytes(b"")
    for name, message in {
        "broken.tar.xz": "damaged",
        "short.tar.gz": "damaged",
        "broken.zip": "damaged",
        "x.exe": "not known",
        "missing.json": "no such file",
    }.items():
        (told,) = names(tmp_path / name)
        assert told.startswith("! ")
        assert message in told


def test_names_from_archives_can_be_shown(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar.gz", {"\x1b[2J\n.json": b"{}"})
    assert names(path) == ["?[2J?.json"]


def test_the_next_files_are_still_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(bundle())
    found = names(tmp_path / "missing.json", tmp_path / "a.json")
    assert found[1] == "a.json"


@pytest.mark.parametrize("suffix", [".json", ".ndjson", ".tar.gz", ".zip"])
def test_a_bundle_that_is_too_large_is_refused(tmp_path: Path, suffix: str) -> None:
    large, small = b'{"a":"' + b"x" * 2000 + b'"}', b"{}"
    path = tmp_path / f"x{suffix}"
    if suffix == ".tar.gz":
        archive(path, {"1.json": large, "2.json": small})
    elif suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("1.json", large)
            made.writestr("2.json", small)
    elif suffix == ".ndjson":
        path.write_bytes(large + b"\n" + small)
    else:
        path.write_bytes(large)
    found = names(path, limit=1000)
    assert "larger than" in found[0]
    assert len(found) == (1 if suffix == ".json" else 2)


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    chance = random.Random(1)
    one = b'{"a":"' + chance.randbytes(500_000).hex().encode() + b'"}'
    path = archive(tmp_path / "x.tar.gz", {f"{i}.json": one for i in range(60)})
    sources = Sources([path])
    tracemalloc.start()
    try:
        for source in sources:
            assert isinstance(source, Source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000
    assert sources.position == sources.total == path.stat().st_size
