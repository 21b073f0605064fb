"""Clients of servers on this machine."""

import ssl
from functools import cache
from typing import Any

import httpx


@cache
def _trusted() -> ssl.SSLContext:
    """Read once for the process: each client by itself would take 20 ms of the processor for it."""
    return httpx.create_ssl_context()


def client(**options: Any) -> httpx.AsyncClient:
    """A client that takes nothing from the environment."""
    return httpx.AsyncClient(verify=_trusted(), trust_env=False, **options)
