"""The command `serve` as a process, and the trials of local runs to compare with the service's."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.client.client import Client
from service.processes.supervisor import free_port
from sparsemod.errors import ServerUnavailable
from sparsemod.pipeline.journal import Finished


def answers(client: Client) -> bool:
    """Whether the server answers."""
    try:
        return client.health().status == "ok"
    except ServerUnavailable:
        return False


def local_trials(folder: Path) -> list[Finished]:
    """The finished trials in a folder of `sparsemod run`, in the order of its file."""
    lines = (folder / "trials.jsonl").read_text().splitlines()
    return [Finished.model_validate_json(line) for line in lines]


def wait(condition: Callable[[], Any], folder: Path, seconds: float) -> None:
    """Wait for `condition`. After `seconds`, show the log of the service in `folder`."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, (folder / "log").read_text()
        time.sleep(0.2)


@contextmanager
def serving(folder: Path, *options: str, cwd: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run the service with one worker, its data and log in `folder`, and yield its URL when it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--workers", "1"]
    words += ["--data-dir", str(folder / "data"), *options]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(words, cwd=cwd, env=dict(environment), stdout=log, stderr=log) as service,
    ):
        try:
            with Client(url) as client:
                wait(lambda: answers(client), folder, 200)
            yield url
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
