"""A pytest plugin (`-p dev.offline`) for `make check`: leaves out what needs a server, judged by fixtures, or is slow."""

import pytest

SERVERS = frozenset({"admin_url", "keycloak", "redis_url", "stack"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that ask for a server, also by a fixture of a fixture, and those marked as slow."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        needs = SERVERS.intersection(getattr(item, "fixturenames", ()))
        (left if needs or item.get_closest_marker("slow") else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)
