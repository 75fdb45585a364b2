"""Background work: expire leases even when no worker asks for trials, delete unreferenced files, apply retention."""

import threading
import time
from collections.abc import Callable

import structlog

from service.files.artifacts import ArtifactFiles
from service.store import Store
from service.store.files import STRAY_SECONDS
from service.store.retention_policy import NOTHING, Expired, Policy, total
from sparsemod.errors import SparsemodError

log = structlog.get_logger("server")

FORGET_REQUESTS_SECONDS = 7 * 86_400.0
"""How long an Idempotency-Key is remembered."""

SWEEP_SECONDS = 3600.0
"""Pause between two sweeps for unreferenced files and for what retention deletes."""


QUOTA_SECONDS = 60.0
"""Pause between two checks of the disk quotas of running experiments."""


class Housekeeping:
    """Thread that maintains the store while the server runs."""

    def __init__(
        self,
        store: Store,
        files: ArtifactFiles,
        pause: float,
        policy: Policy = NOTHING,
        expired: Callable[[Expired], None] = lambda _: None,
    ) -> None:
        self._store, self._files, self._pause = store, files, pause
        self._policy, self._expired = policy, expired
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; wait for the pass in progress."""
        self._ending.set()
        self._thread.join()

    def sweep(self) -> int:
        """Delete unreferenced files; return their number."""
        count = self._store.drop_strays(STRAY_SECONDS, self._files.remove)
        old = self._files.old(STRAY_SECONDS)
        unrecorded = set(old) - self._store.known_artifacts(old)
        return count + self._store.drop_unrecorded(sorted(unrecorded), self._files.remove)

    def expire(self) -> Expired:
        """Apply retention; log and return what was deleted."""
        steps = []
        for step in self._store.expire(self._policy, self._files.remove):
            self._expired(step)
            for experiment, indices in step.by_experiment.items():
                log.info(
                    "retention deleted files", experiment=experiment, trials=len(indices), files=step.files, bytes=step.bytes
                )  # fmt: skip
            steps.append(step)
            if self._ending.is_set():
                break
        found = total(steps)
        if not found.nothing:
            log.info("retention deleted", **found.counts())
        return found

    def _run(self) -> None:
        swept = counted = time.monotonic()
        while not self._ending.wait(self._pause):
            try:
                lost = self._store.reap()
                if lost:
                    log.warning("leases ran out", attempts=lost)
                self._store.reap_exports()
                self._store.forget_requests(FORGET_REQUESTS_SECONDS)
                if time.monotonic() - counted > QUOTA_SECONDS:
                    counted = time.monotonic()
                    self._store.pause_over_quota()
                if time.monotonic() - swept > SWEEP_SECONDS:
                    swept = time.monotonic()
                    self.sweep()
                    self.expire()
            except SparsemodError as error:
                # While the database is down, no worker can renew its lease. Then every worker gets one more lease.
                self._store.lenient_until = self._store.clock() + self._store.lease_seconds
                log.warning("the store does not answer; trying again later", reason=str(error))
            except OSError as error:
                log.error("unreferenced files cannot be deleted", reason=str(error))
