"""What happens without being asked for: leases that run out are noticed even when no worker asks for work; files that nobody needs go."""

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
"""Pause between two looks for such files."""


class Housekeeping:
    """A thread that looks after the store as long as the server runs."""

    def __init__(self, store: Store, files: ArtifactFiles, pause: float) -> None:
        self._store, self._files, self._pause = store, files, pause
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; waits for a look that is under way."""
        self._ending.set()
        self._thread.join()

    def sweep(self) -> int:
        """Delete files that nothing refers to any more; how many there were."""
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
                # As long as the database is away, nobody can renew a lease: afterwards everybody gets the time of one.
                self._store.lenient_until = self._store.clock() + self._store.lease_seconds
                log.warning("the store does not answer, will look again", reason=str(error))
            except OSError as error:
                log.error("files that nobody needs cannot be deleted", reason=str(error))
