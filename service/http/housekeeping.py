"""Background work: expire leases even when no worker asks for trials, and delete unreferenced files."""

import threading
import time

import structlog

from service.files.artifacts import ArtifactFiles
from service.store import Store
from service.store.files import STRAY_SECONDS
from sparsemod.errors import SparsemodError

log = structlog.get_logger("server")

FORGET_REQUESTS_SECONDS = 7 * 86_400.0
"""How long an Idempotency-Key is remembered."""

SWEEP_SECONDS = 3600.0
"""Pause between two sweeps for unreferenced files."""


class Housekeeping:
    """Thread that maintains the store while the server runs."""

    def __init__(self, store: Store, files: ArtifactFiles, pause: float) -> None:
        self._store, self._files, self._pause = store, files, pause
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

    def _run(self) -> None:
        swept = time.monotonic()
        while not self._ending.wait(self._pause):
            try:
                lost = self._store.reap()
                if lost:
                    log.warning("leases ran out", attempts=lost)
                self._store.reap_exports()
                self._store.forget_requests(FORGET_REQUESTS_SECONDS)
                if time.monotonic() - swept > SWEEP_SECONDS:
                    swept = time.monotonic()
                    self.sweep()
            except SparsemodError as error:
                # While the database is down, no worker can renew its lease. Then every worker gets one more lease.
                self._store.lenient_until = self._store.clock() + self._store.lease_seconds
                log.warning("the store does not answer; trying again later", reason=str(error))
            except OSError as error:
                log.error("unreferenced files cannot be deleted", reason=str(error))
