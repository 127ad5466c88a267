"""What happened, told to every open page as lines of JSON."""

import asyncio
import json
import threading

WAITING = 1000
"""Events that may wait for one reader; one that is slower is told to fetch everything anew."""
ALIVE = 10.0
"""Seconds after which a quiet line says that the server is still there."""


class Events:
    """Readers that come and go; `tell` may be called from any thread."""

    def __init__(self):
        self._readers, self._lock = {}, threading.Lock()

    def tell(self, event):
        """Gives a dictionary, which JSON can hold, to all readers."""
        with self._lock:
            readers = list(self._readers.items())
        for queue, loop in readers:
            try:
                loop.call_soon_threadsafe(_put, queue, event)
            except RuntimeError:  # its loop has ended
                self._forget(queue)

    async def lines(self):
        """Yields bytes, a line of JSON each, as long as somebody reads."""
        queue = asyncio.Queue()
        with self._lock:
            self._readers[queue] = asyncio.get_running_loop()
        try:
            yield _line({"kind": "hello"})
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), ALIVE)
                except TimeoutError:
                    event = {"kind": "alive"}
                if event is None:
                    return
                yield _line(event)
        finally:
            self._forget(queue)

    def close(self):
        """Ends all readers' streams."""
        self.tell(None)

    def _forget(self, queue):
        with self._lock:
            self._readers.pop(queue, None)


def _put(queue, event):
    if queue.qsize() >= WAITING and event is not None:
        while not queue.empty():
            queue.get_nowait()
        event = {"kind": "reload"}
    queue.put_nowait(event)


def _line(event):
    return json.dumps(event).encode() + b"\n"
