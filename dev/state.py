"""What the stack keeps between runs: ports, passwords, logins. One JSON file that only its owner may read."""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from dev.faults import Fault, told

T = TypeVar("T")
Json = dict[str, Any]


def secret() -> str:
    """A password for a server or a client; 144 bits, safe inside URLs."""
    return secrets.token_urlsafe(18)


class State:
    """The file at `path`. Threads and processes may use it at once: a change is made under a lock and renamed into place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Json:
        """All that is kept. Raises Fault when somebody broke the file."""
        try:
            kept = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            kept = None
        if not isinstance(kept, dict):
            raise Fault(
                f"{self.path} cannot be read as JSON: restore it, or run `make clean` to start over"
                " with new passwords and empty databases."
            )
        return kept

    @contextmanager
    def changing(self) -> Iterator[Json]:
        """All that is kept, to be changed in place; saved at the end unless an error is raised."""
        with told(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                kept = self.read()
                before = json.dumps(kept)
                yield kept
                if json.dumps(kept) != before:
                    self._save(kept)
            finally:
                os.close(lock)

    def _save(self, kept: Json) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(kept, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def get(self, *path: str) -> Any:
        """The value at a path of keys, or None."""
        return _at(self.read(), path)

    def put(self, value: Any, *path: str) -> None:
        """Set the value at a path of keys."""
        with self.changing() as kept:
            _set(kept, path, value)

    def drawn(self, *path: str, draw: Callable[[], T]) -> T:
        """The value at a path; the first time it is drawn and saved, so it is known before it is used."""
        found = self.get(*path)
        if found is None:
            with self.changing() as kept:
                found = _at(kept, path)
                if found is None:
                    found = draw()
                    _set(kept, path, found)
        return cast(T, found)


def _at(kept: Json, path: tuple[str, ...]) -> Any:
    value: Any = kept
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _set(kept: Json, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        kept = kept.setdefault(key, {})
    kept[path[-1]] = value
