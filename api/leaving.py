"""What a serving process does first when it is told to end.

A server waits for open answers, closes websockets in its own words, and runs the application's own end only then: too
late for those who hold a connection open. So the signal is taken here, and handed on when this is done.
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def first(leave: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """While this holds, a signal to end runs `leave` before it does what it did; a second signal does so at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nobody but the main thread is told of signals
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    tasks: list[asyncio.Task[None]] = []

    async def ending(number: int) -> None:
        try:
            await leave()
        finally:
            hand_on(number, None)

    def hand_on(number: int, frame: FrameType | None) -> None:
        if callable(before[number]):
            before[number](number, frame)

    def told(number: int, frame: FrameType | None) -> None:
        if tasks:
            hand_on(number, frame)
        else:
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(ending(number))))

    ours = [number for number in SIGNALS if callable(before[number])]
    for number in ours:
        signal.signal(number, told)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
