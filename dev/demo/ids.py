"""Ids that are the same each time: UUID version 7 by form (RFC 9562 section 5.7), but from a seed instead of a clock."""

import random
import uuid

_EPOCH_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z: before anything that the product itself makes
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


class Ids:
    """A stream of ids, ascending as those of the product are, so that indexes grow at their end.

    Streams with different names never meet: the name decides the random part. `start` orders the streams.
    """

    def __init__(self, name: str, start: int = 0) -> None:
        self._bits = random.Random(name).getrandbits
        self._next = _EPOCH_MS + start

    def new(self) -> uuid.UUID:
        """The next id."""
        self._next += 1
        high, low = self._bits(12), self._bits(62)
        return uuid.UUID(int=self._next << 80 | _VERSION | high << 64 | _VARIANT | low)


def fixed(name: str) -> uuid.UUID:
    """The one id of this name, for units, people and practitioners that tests refer to."""
    return Ids(name).new()
