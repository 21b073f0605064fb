"""A memory with a bound in bytes, for what is made of documents that clients send: a bound by number is none."""

from collections import OrderedDict
from typing import Generic, TypeVar

from graphql import Location

K = TypeVar("K")
V = TypeVar("V")
OF_DOCUMENT, OF_TOKEN = 20_000, 500
"""Bytes that any parsed document takes, and for each of its tokens, nodes included: measured, less (400 a token)."""


class Kept(Generic[K, V]):
    """Values by key, each with the weight in bytes that it is taken for; the least recently used leave first.

    What weighs more than an eighth of the whole is not kept: it would push out what everybody else uses.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.most_of_one = most // 8
        self.weight = 0
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """The value, which is the most recently used one from now on."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, weight: int) -> None:
        """Keep a value, or one that has grown."""
        before = self._held.pop(key, None)
        if before is not None:
            self.weight -= before[1]
        if weight > self.most_of_one:
            return
        self._held[key] = (value, weight)
        self.weight += weight
        while self.weight > self.most:
            _, (_, freed) = self._held.popitem(last=False)
            self.weight -= freed


def weight_of(place: Location | None) -> int:
    """About how many bytes a parsed document holds of which a node lies at `place`; a node keeps all tokens alive."""
    if place is None:
        return 0
    tokens, token = 1, place.start_token
    while token.next is not None:
        tokens, token = tokens + 1, token.next
    token = place.start_token
    while token.prev is not None:
        tokens, token = tokens + 1, token.prev
    # The text twice: as the source, and as the values in it.
    return OF_DOCUMENT + tokens * OF_TOKEN + 2 * len(place.source.body)
