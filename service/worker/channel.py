"""The channel between a worker process and its children."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]


class Channel:
    """JSON lines over a stream socket. Several threads may send; one may receive."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        self._lock = threading.Lock()
        self.closed = False

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send one message. Raises OSError when the other side is gone."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> list[Message]:
        """Wait for data and return the complete messages received so far.

        Set `closed` at the end of the stream.
        """
        try:
            data = self._socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def messages(self) -> Iterator[Message]:
        """Yield every message until the stream ends."""
        while not self.closed:
            yield from self.receive()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
