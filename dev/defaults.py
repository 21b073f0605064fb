"""Settings for the product's commands in a checkout whose stack runs: `caretree import …` needs no preparation there."""

import os

from dev.faults import Fault


def settings() -> dict[str, str]:
    """The product's settings on the running stack of this checkout; nothing where there is none.

    A command that a test runs knows only what the test tells it.
    """
    if "PYTEST_VERSION" in os.environ:
        return {}
    # Not above: each command begins here, and where there is nothing to find out should not wait for a database's driver.
    from dev.product import Product
    from dev.servers import Stack, root

    if not (root() / "state.json").is_file():
        return {}
    try:
        stack = Stack(root())
        return Product(stack).settings() if stack.postgres.name in stack.running() else {}
    except Fault:
        return {}
