"""The server's end of a connection."""

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNREAD = 20
"""Seconds after which the kernel ends a connection whose other end takes nothing of what it was sent."""


class Connection(HttpToolsProtocol):
    """As uvicorn has it, but that it ends where a client has stopped reading (RFC 5482, TCP_USER_TIMEOUT).

    An answer to such a client is given up long before, which frees all but the socket: the server waits with closing
    it until everything was taken.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Tell the kernel for how long."""
        sock = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
        if sock is not None and option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, UNREAD * 1000)
        super().connection_made(transport)
