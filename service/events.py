"""What happens without being asked for: leases that run out are noticed even when no worker asks for work."""

import threading

import structlog

from service.store import Store
from sparsemod.errors import SparsemodError

log = structlog.get_logger("server")

FORGET_REQUESTS_SECONDS = 7 * 86_400.0
"""How long an Idempotency-Key is remembered."""


class Housekeeping:
    """A thread that looks after the store as long as the server runs."""

    def __init__(self, store: Store, pause: float) -> None:
        self._store, self._pause = store, pause
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; waits for a look that is under way."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(self._pause):
            try:
                lost = self._store.reap()
                self._store.forget_requests(FORGET_REQUESTS_SECONDS)
            except SparsemodError as error:
                log.warning("the store does not answer, will look again", reason=str(error))
                continue
            if lost:
                log.warning("leases ran out", attempts=lost)
