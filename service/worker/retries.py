"""Requests of an attempt that wait for a server that is unavailable."""

import threading
from collections.abc import Callable
from typing import Any

from service.client.backoff import Backoff
from service.worker.attempt_settings import REFUSALS, RETRY_SECONDS, SERVER_ERRORS
from sparsemod.errors import Conflict, InvalidInput, NotFound, ServerUnavailable, SparsemodError


def retry_request(request: Callable[[], Any], lost: threading.Event, release: threading.Event) -> Any:
    """Repeat `request` until the server answers. Raises Conflict and NotFound immediately.

    Wait for a server that is unavailable or has no space. Raise ServerUnavailable only when the attempt has `lost` its
    lease or shall `release` its trial. Raise a server error or a refusal after a few repetitions.
    """
    backoff = Backoff(*RETRY_SECONDS)
    failures = 0
    while True:
        try:
            return request()
        except (Conflict, NotFound):
            raise
        except SparsemodError as error:
            failures += not isinstance(error, ServerUnavailable)
            most = REFUSALS - 1 if isinstance(error, InvalidInput) else SERVER_ERRORS
            if failures > most or lost.is_set() or release.wait(backoff.pause()):
                raise
