"""Whether the server is ready:
the database accepts a write, the artifacts folder accepts a file, and the disk has space."""

import asyncio
import shutil
import tempfile
import time
from typing import Literal, cast

from service.files.artifacts import ArtifactFiles
from service.http.pools import RequestPool
from service.schemas.trials import Health
from service.settings import Settings
from service.store import Store
from sparsemod.errors import ServerUnavailable, SparsemodError
from sparsemod.version import __version__

FRESH_SECONDS = 1.0
"""How long a result is reused, because each check writes and requests need no login."""

ANSWER_SECONDS = 3.0
"""How long a check may take before the server counts as not ready."""


class Readiness:
    """One per server process. It has its own threads, so that it answers while all other requests wait."""

    def __init__(self, store: Store, files: ArtifactFiles, settings: Settings) -> None:
        self._store, self._files, self._settings = store, files, settings
        self._pool = RequestPool("checks of health", 2, wait=ANSWER_SECONDS)
        self._check: asyncio.Task[Health | SparsemodError] | None = None
        self._begun = 0.0

    async def ask(self) -> Health:
        """Return a state at most FRESH_SECONDS old.
        Raises ServerUnavailable with the reason when the server is not ready."""
        now = time.monotonic()
        check = self._check
        if (
            check is None
            or check.get_loop() is not asyncio.get_running_loop()
            or (check.done() and now - self._begun > FRESH_SECONDS)
        ):
            self._begun = now
            self._check = check = asyncio.create_task(self._check_once())
        await asyncio.wait({check}, timeout=ANSWER_SECONDS)
        if not check.done():
            raise ServerUnavailable(
                f"the database or the disk has not answered for {time.monotonic() - self._begun:.0f} s"
            )
        outcome = check.result()
        if isinstance(outcome, SparsemodError):
            raise ServerUnavailable(str(outcome))
        return outcome

    async def _check_once(self) -> Health | SparsemodError:
        try:
            return await self._pool.run(self._read)
        except SparsemodError as error:
            return error

    def _read(self) -> Health:
        version = self._store.check()
        return Health(
            status="ok",
            version=__version__,
            database=cast(Literal["sqlite", "postgresql"], self._store.backend),
            schema_version=version,
            free_bytes=self._free(),
            pauses=tuple(self._store.pauses()),
        )

    def _free(self) -> int:
        """Return the free bytes on the artifacts' disk.
        Raises ServerUnavailable when they are too few or no file can be written."""
        folder, least = self._files.root, self._settings.min_free_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"ready?")
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise ServerUnavailable(f"no file can be written to {folder}: {error.strerror}") from error
        if free < least:
            raise ServerUnavailable(
                f"the disk of {folder} has {free} bytes free, fewer than SPARSEMOD_MIN_FREE_BYTES = {least}"
            )
        return free
