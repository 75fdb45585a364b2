"""Simulated workers in one thread: real requests over kept-alive sockets, with little work for each.

They stand for workers on other machines, so they must not take the server's processor time: the requests are prepared
bytes, in which only the attempt, its token and the id of the claim change. Every answer is checked: the report ended
the trial, and the attempt and the trial of the claim were never handed out before. The next report needs the lease
token of that answer.
"""

import hashlib
import heapq
import io
import json
import select
import socket
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

REPORT = Path(__file__).parent / "data" / "report_digits.json"
"""A worker's report of a trial on digits, recorded from a real worker: result with curve, and log."""

AGAIN_SECONDS = 0.2
"""Pause before a request is repeated that was answered with 503."""

_TOKEN, _REQUEST = "T" * 32, "R" * 32  # replaced in each request by texts of equal length


@dataclass
class Work:
    """What the workers did: claims, seconds, latencies of the answers [s], repeated requests, their own CPU seconds,
    and the numbers of all attempts that they got."""

    claims: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    repeated: int = 0
    cpu: float = 0.0
    attempts: set[int] = field(default_factory=set)
    trials: set[tuple[int, int]] = field(default_factory=set)


def ask(port: int, method: str, path: str, body: bytes, kind: str, token: str = "") -> bytes:
    """Send one request on a connection of its own and return the body of its answer. Raises RuntimeError."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head(port, method, path, len(body), kind, token) + body)
        received = b""
        while (split := received.partition(b"\r\n\r\n"))[1] == b"" or len(split[2]) < _length(split[0]):
            if not (data := connection.recv(65536)):
                break
            received += data
    if split[0][9:12] not in (b"200", b"201"):
        raise RuntimeError(f"{method} {path}: {received[:500]!r}")
    return split[2]


def head(port: int, method: str, path: str, length: int, kind: str, token: str) -> bytes:
    """Return the head of a request with the headers that the service's client sends."""
    login = f"authorization: Bearer {token}\r\n" if token else ""
    return (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: */*\r\naccept-encoding: gzip, deflate\r\n"
        f"connection: keep-alive\r\nuser-agent: python-httpx2/2.16.2\r\n{login}content-type: {kind}\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def _length(answer_head: bytes) -> int:
    start = answer_head.index(b"content-length: ") + 16
    return int(answer_head[start : start + 20].split(b"\r\n", 1)[0])


def upload(port: int, token: str = "") -> list[dict[str, Any]]:
    """Upload a file of weights and one of a network; return the artifacts of a report."""
    arrays = {"w": np.zeros((8, 9), np.int8)}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    found = []
    for kind, name, content in (
        ("weights", "weights.safetensors", safetensors.numpy.save(arrays)),
        ("network", "network.npz", packed.getvalue()),
    ):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        ask(port, "PUT", f"/artifacts/{digest}", content, "application/octet-stream", token)
        found.append({"kind": kind, "digest": digest, "size": len(content), "name": name})
    return found


class _Worker:
    """One worker with its connection."""

    def __init__(self, number: int, report: dict[str, Any], port: int, token: str) -> None:
        self.port, self.name = port, f"w{number}"
        self.claim = {"worker": self.name, "device": "cpu", "slots": 1, "request": _REQUEST}
        body = json.dumps({"token": _TOKEN, **report, "next": self.claim}).encode()
        before, _, rest = body.partition(_TOKEN.encode())
        middle, _, end = rest.partition(_REQUEST.encode())
        start = head(port, "POST", "/attempts/#/finish", len(body), "application/json", token)
        self._parts = [*start.split(b"#"), before, middle, end]
        self.socket: socket.socket | None = None
        self.received, self.due, self.request = b"", 0.0, b""
        self.attempt, self.token, self.trial = 0, b"", -1

    def open(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def prepare(self) -> None:
        """Make the bytes of the next report."""
        first, second, before, middle, end = self._parts
        request = uuid.uuid4().hex.encode()
        self.request = b"".join(
            (first, b"%d" % self.attempt, second, before, self.token, middle, request, end)
        )

    def take(self, done: Work, claim: Any) -> None:
        """Remember a claim. Raises RuntimeError for one that was handed out before."""
        place = (claim["experiment"], claim["trial"])
        if claim["attempt"] in done.attempts or place in done.trials:
            raise RuntimeError(f"attempt {claim['attempt']} at trial {place} was handed out twice")
        done.attempts.add(claim["attempt"])
        done.trials.add(place)
        self.attempt, self.token, self.trial = claim["attempt"], claim["token"].encode(), claim["trial"]


class Swarm:
    """`count` workers of the server at `port`, each with one trial. Raises RuntimeError for a wrong answer."""

    def __init__(self, port: int, count: int, token: str = "") -> None:
        self.done = Work()
        report = json.loads(REPORT.read_text())
        report["result"]["artifacts"] = upload(port, token)
        self._workers = [_Worker(number, report, port, token) for number in range(count)]
        for worker in self._workers:
            first = {**worker.claim, "request": uuid.uuid4().hex, "started": True}
            body = json.dumps(first).encode()
            worker.take(self.done, json.loads(ask(port, "POST", "/claims", body, "application/json", token)))
            worker.open()

    def close(self) -> None:
        """Close the connections."""
        for worker in self._workers:
            if worker.socket is not None:
                worker.socket.close()

    def work(self, seconds: float, rate: float | None = None) -> Work:
        """Report trials and claim the next ones for `seconds`, as fast as the answers come, or at `rate` claims a
        second; then wait for the last answers. Return what was done in this time."""
        done = self.done
        done.claims, done.repeated, done.latencies = 0, 0, []
        idle, late = deque(self._workers), deque[float]()
        again: list[tuple[float, int, _Worker]] = []
        waiting: dict[int, _Worker] = {}
        epoll = select.epoll()
        cpu, begin = time.process_time(), time.perf_counter()
        end, count = begin + seconds, 0

        def send(worker: _Worker, due: float) -> None:
            worker.due = due
            worker.prepare()
            transmit(worker)

        def transmit(worker: _Worker) -> None:
            if worker.socket is None:
                worker.open()
            connection = worker.socket
            if connection is None:
                raise RuntimeError("no connection")
            connection.sendall(worker.request)
            number = connection.fileno()
            waiting[number] = worker
            epoll.register(number, select.EPOLLIN | select.EPOLLONESHOT)

        while True:
            now = time.perf_counter()
            if rate is None:
                while idle and now < end:
                    send(idle.popleft(), now)
                pause = 1.0
            else:
                while (due := begin + count / rate) <= min(now, end):
                    late.append(due)
                    count += 1
                while idle and late:
                    send(idle.popleft(), late.popleft())
                pause = due - now if due <= end else 1.0
            while again and again[0][0] <= now:
                transmit(heapq.heappop(again)[2])
            if now >= end and not late and not waiting and not again:
                break
            if again:
                pause = min(pause, again[0][0] - now)
            for number, _ in epoll.poll(max(0.0, pause)):
                worker = waiting[number]
                answer = self._received(worker)
                if answer is None:
                    epoll.modify(number, select.EPOLLIN | select.EPOLLONESHOT)
                    continue
                del waiting[number]
                epoll.unregister(number)
                if answer == b"":
                    done.repeated += 1
                    worker.open()  # the server closes the connection after a refusal
                    heapq.heappush(again, (time.perf_counter() + AGAIN_SECONDS, number, worker))
                    continue
                done.latencies.append(time.perf_counter() - worker.due)
                self._check(worker, answer)
                idle.append(worker)
        epoll.close()
        done.seconds, done.cpu = time.perf_counter() - begin, time.process_time() - cpu
        return done

    def _received(self, worker: _Worker) -> bytes | None:
        """Read from a worker's connection. Return the body of its answer, None when it is not complete, an empty one
        for an answer with status 503."""
        if worker.socket is None:
            raise RuntimeError("no connection")
        data = worker.socket.recv(1 << 16)
        worker.received += data
        start, found, body = worker.received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(start):
            if data:
                return None
            raise RuntimeError(f"the server closed the connection: {worker.received[:300]!r}")
        worker.received = b""
        if start[9:12] == b"503":
            return b""
        if start[9:12] != b"200":
            raise RuntimeError(f"{start[:20]!r} {body[:500]!r}")
        return body

    def _check(self, worker: _Worker, answer: bytes) -> None:
        outcome = json.loads(answer)
        if outcome["state"] != "completed" or outcome["trial"] != worker.trial or outcome["next"] is None:
            raise RuntimeError(f"trial {worker.trial} was answered with {answer[:300]!r}")
        worker.take(self.done, outcome["next"])
        self.done.claims += 1
