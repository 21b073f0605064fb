"""Where counts lie that all serving processes share: in Redis or Valkey, which may take a moment to answer and no more."""

from typing import Any

from limits.aio.storage import RedisStorage
from redis.asyncio import ConnectionPool


class SharedCounts:
    """The storage of one process's limits, under a `prefix`; errors of `url`'s server come as StorageError.

    `seconds`: how long connecting, and each answer, may take.
    """

    def __init__(self, url: str, prefix: str, seconds: float) -> None:
        waiting = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        self._pool: Any = ConnectionPool.from_url(url, **waiting)
        options: dict[str, Any] = {"connection_pool": self._pool}
        self.storage = RedisStorage(
            f"async+{url}",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=prefix,
            **options,
        )

    async def close(self) -> None:
        """Give the connections back."""
        await self._pool.aclose()
