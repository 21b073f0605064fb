"""One point in which a realm differs, and what mends it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from identity.keycloak import Json


@dataclass(frozen=True)
class Difference:
    """A sentence, and the call after which it is no longer true. `last`: only once nothing else differs."""

    said: str
    mend: Callable[[], Awaitable[Any]]
    last: bool = False


def plain(value: Any) -> Any:
    """Lists of names without their order; absent and empty alike; null ones of Keycloak's are left out."""
    if isinstance(value, list):
        return sorted(value, key=str) if value else False
    return value or False


def lacks(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The keys at which `found` has not what is wanted; more keys of its own do not count."""
    return [name for name, value in wanted.items() if plain(found.get(name)) != plain(value)]


def by(key: str, rows: list[Json]) -> dict[str, Json]:
    """Rows by one of their fields."""
    return {row[key]: row for row in rows}
