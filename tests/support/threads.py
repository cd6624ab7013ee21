"""A local server in a thread with a loop of its own, for tests that start and stop loops themselves."""

import asyncio
import threading
from contextlib import contextmanager
from queue import Queue

from rerank_async.server import serve


@contextmanager
def in_thread(open_service=serve, **options):
    """Opens the service in another thread; it may be read from here, not driven."""
    opened = Queue()

    async def run():
        stop = asyncio.Event()
        async with open_service(**options) as running:
            opened.put((running, asyncio.get_running_loop(), stop))
            await stop.wait()

    def work():
        try:
            asyncio.run(run())
        except BaseException as exc:
            opened.put(exc)
            raise

    thread = threading.Thread(target=work, name="local server")
    thread.start()
    result = opened.get(timeout=30)
    if isinstance(result, BaseException):
        raise result
    running, loop, stop = result
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
