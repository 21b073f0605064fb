"""The provider that keeps keys in a file."""

import multiprocessing
import os
from pathlib import Path

import pytest

from domain.key_providers import FileKeyProvider, KeyProvider
from tests.domain.key_providers import PLACE, SECRET, KeyProviderContract


class TestFileKeyProvider(KeyProviderContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> KeyProvider:
        return FileKeyProvider(tmp_path / "keys.json")


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "keys.json"
    FileKeyProvider(path).create("a")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    FileKeyProvider(path).create("a")
    path.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        FileKeyProvider(path).wrap("a", SECRET, PLACE)


def test_another_process_sees_a_new_key_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    api, worker = FileKeyProvider(path), FileKeyProvider(path)
    api.create("a")
    wrapped = worker.wrap("a", SECRET, PLACE)
    api.create("b")
    assert worker.wrap("b", SECRET, PLACE)
    worker.rotate("a")
    assert api.unwrap("a", wrapped, PLACE) == SECRET


def test_a_half_written_file_of_an_earlier_run_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    provider = FileKeyProvider(path)
    provider.create("a")
    wrapped = provider.wrap("a", SECRET, PLACE)
    path.with_suffix(".new").write_bytes(b'{"a": {')
    provider.create("b")
    assert FileKeyProvider(path).unwrap("a", wrapped, PLACE) == SECRET


def make_keys(path: Path, first: int) -> None:
    for number in range(first, first + 10):
        FileKeyProvider(path).create(f"tenant-{number}")


def test_processes_that_create_keys_at_once_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=make_keys, args=(path, first)) for first in (0, 10, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == os.EX_OK
    provider = FileKeyProvider(path)
    for number in range(30):
        assert provider.wrap(f"tenant-{number}", SECRET, PLACE)
