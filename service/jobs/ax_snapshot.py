"""Convert an experiment to Ax's JSON in a child process, because Ax takes seconds to load.

The server runs `python -m service.jobs.ax_snapshot_child`, writes the stored trials to its standard input
and reads the JSON from its standard output. The last answers are cached until their experiment changes.
"""

import json
import subprocess
import sys
import threading
from collections import OrderedDict
from typing import Any

from service.settings import Settings
from service.store import Store, TrialRecord
from sparsemod.errors import ServerUnavailable, SparsemodError

_KEPT = 8
_WAITING = 4
"""Maximum number of concurrent requests. Each occupies one of the server's threads."""


class AxExport:
    """Converts experiments, one at a time."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_WAITING)

    def export(self, experiment: int) -> bytes:
        """Return JSON for `ax.api.client.Client.load_from_json_file`.

        Raises NotFound, ServerUnavailable when too many requests wait or the time limit is exceeded,
        SparsemodError when the conversion fails.
        """
        view = self._store.experiment(experiment)
        key = (experiment, view.revision)
        cached = self._kept.get(key)
        if cached is not None:
            return cached
        if not self._places.acquire(blocking=False):
            raise ServerUnavailable(f"{_WAITING} conversions for Ax are running already; try again later")
        try:
            with self._lock:
                if key not in self._kept:
                    task = {
                        "spec": view.spec.to_dict(),
                        "imports": self._settings.imports,
                        "trials": [plain_record(record) for record in self._store.records(experiment)],
                    }
                    self._kept[key] = self._run(json.dumps(task).encode())
                    while len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
                return self._kept[key]
        finally:
            self._places.release()

    def _run(self, task: bytes) -> bytes:
        command = [sys.executable, "-m", "service.jobs.ax_snapshot_child"]
        try:
            process = subprocess.run(
                command,
                check=False,
                input=task,
                capture_output=True,
                timeout=self._settings.ax_export_seconds,
            )
        except subprocess.TimeoutExpired:
            raise ServerUnavailable(
                f"the conversion for Ax took more than ax_export_seconds = {self._settings.ax_export_seconds:g} s"
            ) from None
        if process.returncode != 0:
            lines = process.stderr.decode(errors="replace").strip().splitlines()
            raise SparsemodError(
                f"the conversion for Ax failed: {lines[-1] if lines else process.returncode}"
            )
        return process.stdout


def plain_record(record: TrialRecord) -> dict[str, Any]:
    """Convert a stored trial to plain data, from which a child process builds an Observation."""
    return {
        "index": record.index,
        "candidate": record.candidate.model_dump(mode="json"),
        "state": record.state.value,
        "values": None if record.values is None else dict(record.values),
        "epochs": record.trained_epochs or float(record.epochs),
        "failure": None if record.failure is None else record.failure.value,
        "weights": record.weights,
    }
