"""Shared by the worker's tests: a server in memory that can be made to fail, and evaluations that misbehave
in a child process."""

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support_specs import small

from sparsemod.errors import BuildError, EnvironmentFailure, NotFound, ServerUnavailable, StaleLease
from sparsemod.records import CurvePoint, TrialResult, TrialState
from sparsemod.spec.experiment import ExperimentSpec

if TYPE_CHECKING:
    from service.schemas.workers import Claim

SPEC = small("worker test", (4, 0, 0))


def make_claim(
    attempt: int = 1, *, behaviour: str = "good", lease: float = 0.6, parent: Any = None, **limits: Any
) -> "Claim":
    """A claim whose evaluation follows `behaviour` (see `behave`)."""
    from service.schemas.workers import Claim

    return Claim.model_validate_json(
        json.dumps(
            {
                "attempt": attempt,
                "token": f"token-{attempt}",
                "lease_seconds": lease,
                "experiment": 1,
                "trial": attempt - 1,
                "spec": ExperimentSpec.parse({**SPEC, "limits": limits}).model_dump(mode="json"),
                "candidate": {"parameters": {"behaviour": behaviour}, "origin": "manual", "round": "manual"},
                "epochs": 3,
                "seed": 7,
                "parent": parent,
                "checkpoint": None,
            }
        )
    )


@dataclass
class Heartbeat:
    stop: bool
    lease_seconds: float = 0.6


@dataclass
class Outcome:
    next: "Claim | None" = None


@dataclass
class MemoryServer:
    """The worker's side of the protocol in memory. `away` raises ServerUnavailable everywhere, `stale` raises StaleLease."""

    claims: list["Claim"] = field(default_factory=list)
    results: dict[int, TrialResult] = field(default_factory=dict)
    curve: dict[int, list[CurvePoint]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    beats: int = 0
    started: list[bool] = field(default_factory=list)
    bad_claims: list[Exception] = field(default_factory=list)
    away: bool = False
    stale: bool = False
    stop: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _check(self) -> None:
        if self.away:
            raise ServerUnavailable("the server is away (test)")
        if self.stale:
            raise StaleLease("the lease is lost (test)")

    def claim(self, worker: str, device: str, slots: int = 1, started: bool = False) -> "Claim | None":
        self._check()
        with self.lock:
            self.started.append(started)
            if self.bad_claims:
                raise self.bad_claims.pop(0)
            return self.claims.pop(0) if self.claims else None

    def heartbeat(self, attempt: int, token: str) -> Heartbeat:
        self._check()
        self.beats += 1
        return Heartbeat(self.stop)

    def points(self, attempt: int, token: str, points: list[CurvePoint], log: list[Any]) -> Heartbeat:
        self._check()
        with self.lock:
            self.curve.setdefault(attempt, []).extend(points)
            self.lines.extend(line.message for line in log)
        return Heartbeat(self.stop)

    def checkpoint(self, attempt: int, token: str, digest: str) -> None:
        self._check()
        self.checkpoints.append(digest)

    def finish(self, attempt: int, token: str, result: TrialResult, following: Any = None) -> "Outcome":
        self._check()
        with self.lock:
            self.results[attempt] = result
            claim = self.claims.pop(0) if following is not None and self.claims else None
        return Outcome(claim)

    def upload(self, content: bytes | Path) -> str:
        self._check()
        data = content if isinstance(content, bytes) else content.read_bytes()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def download(self, digest: str, path: Path) -> Path:
        self._check()
        if digest not in self.blobs:
            raise NotFound("artifact", digest)
        path.write_bytes(self.blobs[digest])
        return path


def point(epoch: int) -> CurvePoint:
    """A point of a learning curve."""
    return CurvePoint(
        epoch=epoch,
        train_loss=1 / epoch,
        validation_loss=1 / epoch,
        validation_error=0.1,
        learning_rate=0.01,
    )


def behave(job: dict[str, Any], reporter: Any) -> dict[str, Any]:
    """An evaluation without torch that follows the candidate's parameter `behaviour`."""
    behaviour = job["candidate"]["parameters"]["behaviour"]
    if behaviour == "invalid":
        raise BuildError("the image is 8 x 8, five poolings need 32 x 32", "blocks.4")
    if behaviour == "temporary":
        print(Path(tempfile.mkdtemp()).relative_to(Path(job["workdir"]).absolute()).parts[0])
        print(subprocess.run(["mktemp"], capture_output=True, text=True, check=True).stdout.strip())
    if behaviour == "full":
        raise EnvironmentFailure("No space left on device", whole=True)
    if behaviour == "no data":
        raise EnvironmentFailure("dataset 'faces': missing train.bin in /data")
    if behaviour == "raise":
        raise RuntimeError("division of labour by zero")
    if behaviour == "segfault":
        print("about to fall", flush=True)
        ctypes.string_at(0)
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "exit":
        os._exit(7)
    if behaviour == "hang":
        time.sleep(600)
    if behaviour == "eat":
        held = []
        while True:
            held.append(bytearray(os.urandom(1 << 20) * 16))
            time.sleep(0.01)
    if behaviour == "bar":
        for step in range(100):
            print(f"\r{step} %", end="")
        print("\r100 %")
    if behaviour == "first to go":
        print(Path("/proc/self/oom_score_adj").read_text().strip())
    if behaviour == "endless line":
        for _ in range(200):
            print("=" * 10_000, end="")
        print("\nend", end="")
    if behaviour == "chatty":
        for line in range(20_500):
            print(line)
    if behaviour == "long":
        for epoch in range(1, 5001):
            reporter.point(point(epoch))
    if behaviour in ("orphan", "free orphan"):
        print(subprocess.Popen(["sleep", "300"], start_new_session=behaviour == "free orphan").pid)
        os._exit(7)
    stage = 20 if behaviour in ("slow", "endless") else 3
    state = TrialState.COMPLETED
    done = 0
    for epoch in range(1, (100_000 if behaviour == "endless" else stage) + 1):
        if reporter.should_stop():
            state = TrialState.STOPPED
            break
        if behaviour in ("slow", "endless"):
            time.sleep(0.05)
        done = epoch
        reporter.point(point(epoch))
        reporter.log(f"epoch {epoch}")
        if epoch == 2:
            reporter.checkpoint(b"weights after two epochs")
            reporter.flush()
    content = b"final weights"
    (Path(job["workdir"]) / "weights.safetensors").write_bytes(content)
    artifact = {
        "kind": "weights",
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "name": "weights.safetensors",
    }
    result = TrialResult.model_validate({"state": state, "artifacts": [artifact], "epochs": done})
    return {"result": result.model_dump(mode="json")}
