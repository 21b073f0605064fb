"""The benchmark: the product against hand-written SQL behind bare ASGI, on the same rows in the same run."""

from dev.bench.main import command

__all__ = ["command"]
