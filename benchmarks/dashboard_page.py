"""What the benchmark of the dashboard needs for ours and for Optuna's: a server process, a counting forwarder, timed requests."""

import contextlib
import socket
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


class Counting:
    """A forwarder that counts the bytes from the server at `port` to whoever connects to its own `port`."""

    def __init__(self, port: int) -> None:
        self._target, self.bytes = port, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, counted in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, counted), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self.bytes += len(data) if counted else 0
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def process(command: list[str], port: int, path: str = "/") -> Iterator[None]:
    """A server until the end of the block, once it answers."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                fetch(port, path)
                break
            time.sleep(0.1)
        yield
    finally:
        running.terminate()
        running.wait()


def fetch(port: int, path: str) -> int:
    """Ask; the size of the answer as it comes over the wire."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return len(answer.read())


def calls(port: int, paths: dict[str, str], times: int) -> dict[str, Any]:
    """Median milliseconds and bytes of requests."""
    found = {}
    for name, path in paths.items():
        took = []
        for _ in range(times):
            began = time.perf_counter()
            size = fetch(port, path)
            took.append(1000 * (time.perf_counter() - began))
        found[name] = {
            "first_ms": round(took[0], 1),
            "median_ms": round(statistics.median(took), 1),
            "bytes": size,
        }
    return found
