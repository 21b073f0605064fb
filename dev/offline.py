"""A pytest plugin (`-p dev.offline`) for `make check`: leaves out what needs a server, judged by fixtures, or is slow.

What is left begins with the modules that take seconds, those first that wait more than they compute: the types are
checked at the same time, and have a processor's whole attention then.
"""

import pytest

SERVERS = frozenset({"admin_url", "keycloak", "redis_url", "stack"})
FIRST = (
    "tests/identity/test_keycloak.py",
    "tests/authz/test_commands.py",
    "tests/api/http/test_leaving.py",
    "tests/api/http/test_audit.py",
    "tests/api/http/test_wire.py",
    "tests/identity/test_mail.py",
    "tests/identity/test_webhooks.py",
    "tests/dev/test_keycloak_home.py",
    "tests/dev/test_cli.py",
    "tests/api/test_cli.py",
)
"""The order of all others is that of tests/conftest.py."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that ask for a server, also by a fixture of a fixture, and those marked as slow."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        needs = SERVERS.intersection(getattr(item, "fixturenames", ()))
        (left if needs or item.get_closest_marker("slow") else kept).append(item)
    turns = {module: turn for turn, module in enumerate(FIRST)}
    items[:] = sorted(kept, key=lambda item: turns.get(item.nodeid.partition("::")[0], len(FIRST)))
    config.hook.pytest_deselected(items=left)
