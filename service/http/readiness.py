"""Whether the server can do its work: the database takes a write, the folder of artifacts takes a file, and the disk has room."""

import asyncio
import shutil
import tempfile
import time
from typing import Literal, cast

from service.files.artifacts import ArtifactFiles
from service.http.pools import Pool
from service.schemas.trials import Health
from service.settings import Settings
from service.store import Store
from sparsemod import __version__
from sparsemod.errors import ServerUnavailable, SparsemodError

FRESH_SECONDS = 1.0
"""How long an answer holds: anybody may ask, and asking writes."""

ANSWER_SECONDS = 3.0
"""How long a check may take before the server counts as not ready."""


class Readiness:
    """One per server process. It has threads of its own, so that it answers when all others wait."""

    def __init__(self, store: Store, files: ArtifactFiles, settings: Settings) -> None:
        self._store, self._files, self._settings = store, files, settings
        self._pool = Pool("checks of health", 2, wait=ANSWER_SECONDS)
        self._check: asyncio.Task[Health | SparsemodError] | None = None
        self._begun = 0.0

    async def ask(self) -> Health:
        """The state of at most FRESH_SECONDS ago. Raises ServerUnavailable with the reason when the server is not ready."""
        now = time.monotonic()
        check = self._check
        if (
            check is None
            or check.get_loop() is not asyncio.get_running_loop()
            or (check.done() and now - self._begun > FRESH_SECONDS)
        ):
            self._begun = now
            self._check = check = asyncio.create_task(self._look())
        await asyncio.wait({check}, timeout=ANSWER_SECONDS)
        if not check.done():
            raise ServerUnavailable(
                f"the database or the disk has not answered for {time.monotonic() - self._begun:.0f} s"
            )
        found = check.result()
        if isinstance(found, SparsemodError):
            raise ServerUnavailable(str(found))
        return found

    async def _look(self) -> Health | SparsemodError:
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
        """Free bytes on the disk of the artifacts. Raises ServerUnavailable when there are too few, or when the folder takes no file."""
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
