"""A pytest plugin (`-p dev.offline`) that leaves out every test which needs a server, judged by its fixtures."""

import pytest

SERVERS = frozenset({"admin_url", "keycloak", "redis_url", "stack"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that ask for a server, also by a fixture of a fixture."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        needed = SERVERS.intersection(getattr(item, "fixturenames", ()))
        (left if needed else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)
