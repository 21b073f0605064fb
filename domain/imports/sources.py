"""Files, folders and archives as a stream of bundles: one in memory at a time, whatever the archive's size."""

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from domain.imports.faults import Fault, Problem

MAX_BYTES = 64 * 1024 * 1024
"""The largest bundle that is taken. Synthea's, of a whole life, have two or three megabytes."""
PIECE = 256 * 1024
BUNDLES = (".json", ".ndjson")
ARCHIVES = (".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
# RuntimeError: an encrypted member of a zip; NotImplementedError: one that is packed in an unknown way.
BROKEN = (
    tarfile.TarError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Source:
    """A bundle's bytes, and the file (and line, and archive) it is from."""

    name: str
    raw: bytes


class Sources:
    """Everything under some paths. `position` and `total` are bytes of the files, for a progress bar."""

    def __init__(self, paths: Iterable[Path], limit: int = MAX_BYTES) -> None:
        self._limit = limit
        self._files = [file for path in paths for file in _files(path)]
        self.total = sum(file.stat().st_size for file in self._files if file.is_file())
        self._done = 0
        self._open: IO[bytes] | None = None

    @property
    def position(self) -> int:
        """How far the reading is, in bytes of the files."""
        opened = self._open
        return self._done + (opened.tell() if opened is not None and not opened.closed else 0)

    def __iter__(self) -> Iterator[Source | Problem]:
        """Bundles one after another; a Problem for each file that cannot be read."""
        for file in self._files:
            try:
                with file.open("rb") as stream:
                    self._open = stream
                    yield from self._bundles(file, stream)
            except FileNotFoundError:
                yield Problem(str(file), None, "", "There is no such file.")
            except PermissionError:
                yield Problem(str(file), None, "", "This file may not be read.")
            except BROKEN as error:
                kind = type(error).__name__
                yield Problem(str(file), None, "", f"This file is damaged or cut short ({kind}).")
            self._done += file.stat().st_size if file.is_file() else 0
            self._open = None

    def _bundles(self, file: Path, stream: IO[bytes]) -> Iterator[Source | Problem]:
        name = str(file)
        if name.endswith(".zip"):
            yield from self._zip(name, stream)
        elif name.endswith(ARCHIVES):
            yield from self._tar(name, stream)
        elif name.endswith(BUNDLES):
            yield from self._file(name, stream)
        else:
            known = ", ".join((*BUNDLES, *ARCHIVES))
            yield Problem(
                name, None, "", f"Which kind of file this is, is not known. Taken: {known}."
            )

    def _tar(self, name: str, stream: IO[bytes]) -> Iterator[Source | Problem]:
        with tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                inner = archive.extractfile(member) if member.isfile() else None
                if inner is not None and member.name.endswith(BUNDLES):
                    inside = member.name.removeprefix("./")
                    yield from self._file(f"{name}/{printable(inside)}", inner)
                # tarfile keeps a record of every member it has seen.
                archive.members = []  # type: ignore[attr-defined]  # not in typeshed, there since Python 2

    def _zip(self, name: str, stream: IO[bytes]) -> Iterator[Source | Problem]:
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                if not member.is_dir() and member.filename.endswith(BUNDLES):
                    with archive.open(member) as inner:
                        yield from self._file(f"{name}/{printable(member.filename)}", inner)

    def _file(self, name: str, stream: IO[bytes]) -> Iterator[Source | Problem]:
        if PurePosixPath(name).suffix == ".ndjson":
            yield from self._lines(name, stream)
            return
        raw = bytearray()
        # In pieces: a buffered reader makes room at once for as much as it is asked for.
        while len(raw) <= self._limit and (piece := stream.read(PIECE)):
            raw += piece
        large = len(raw) > self._limit
        yield self._too_large(name) if large else Source(name, bytes(raw))

    def _lines(self, name: str, stream: IO[bytes]) -> Iterator[Source | Problem]:
        number = 0
        reader = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]  # what archives give reads like a raw stream
        while raw := reader.readline(self._limit + 1):
            number += 1
            where = f"{name}:{number}"
            if len(raw) > self._limit:
                yield self._too_large(where)
                while raw and not raw.endswith(b"\n"):
                    raw = reader.readline(self._limit)
            elif raw.strip():
                yield Source(where, raw)

    def _too_large(self, name: str) -> Problem:
        megabytes = self._limit // (1024 * 1024)
        return Problem.of(name, Fault(f"The bundle is larger than {megabytes} MiB; split it."))


def printable(name: str) -> str:
    """A name from inside an archive as it may be shown on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _files(path: Path) -> Iterator[Path]:
    """The path itself, or everything of a known kind below it, in the order of names."""
    if path.is_dir():
        known = (*BUNDLES, *ARCHIVES)
        yield from sorted(f for f in path.rglob("*") if f.is_file() and f.name.endswith(known))
    else:
        yield path
