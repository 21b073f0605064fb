"""`caretree serve`: the API over HTTP."""

import errno
import socket
from typing import Annotated, Any

import typer
import uvicorn

from api.cli import fail
from api.http.body import MAX_BYTES
from api.settings import load

NAME = "serve"
SERVED: dict[str, Any] = {
    "loop": "uvloop",
    "http": "api.http.wire:Connection",
    "ws": "websockets-sansio",
    "ws_max_size": MAX_BYTES,
    "ws_ping_interval": 20,  # seconds; a client that answers none of them is gone
    "ws_ping_timeout": 20,
    "ws_per_message_deflate": False,  # what is told is small, and each connection would hold a window
    "lifespan": "on",
    # Paths and addresses are not for logs; what is worth counting is in the metrics.
    "access_log": False,
    "log_config": None,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": 15,
}
"""How every process of the API speaks HTTP and websockets."""


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
) -> None:
    """Serve the API until a signal ends it. Behind a proxy that ends TLS."""
    settings = load()
    for name in ("database_url", "key_file"):
        settings.required(name)
    _must_be_free(host, port)
    uvicorn.run(
        "api.app:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        **SERVED,
    )


def _must_be_free(host: str, port: int) -> None:
    """Say that the address cannot be had before anything is opened for it."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        fail(
            f"{host}:{port} {'is taken by another process' if taken else 'cannot be listened on'}."
        )
