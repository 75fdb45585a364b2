"""A real server in this process, on a socket, and a reader of its event streams."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

PATIENCE = 30.0
"""How long a test waits for what must come."""


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of a server that runs `app` until the end of the block."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=3, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            app.state.feed.end()
            server.should_exit = True
            thread.join()


class Stream:
    """An open stream. `next()` gives the next event as (kind, id, data); comments are counted."""

    def __init__(self, url: str, **headers: str) -> None:
        self._client = httpx2.Client(timeout=PATIENCE, trust_env=False)
        self._context = self._client.stream("GET", url, headers={"accept": "text/event-stream", **headers})
        self.response = self._context.__enter__()
        self._lines = self.response.iter_lines()
        self.comments = 0

    def next(self) -> tuple[str, int | None, Any]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                number = fields.get("id")
                return fields["event"], None if number is None else int(number), json.loads(fields["data"])
            else:
                fields = {}
        raise EOFError

    def take(self, count: int) -> list[int]:
        """The counters of the next events."""
        return [number for _, number, _ in (self.next() for _ in range(count)) if number is not None]

    def close(self) -> None:
        self._context.__exit__(None, None, None)
        self._client.close()
