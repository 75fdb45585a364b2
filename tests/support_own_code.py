"""`sparsemod serve --import MODULE` as a user starts it: real processes, in the folder of the modules."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2 as httpx

from service.processes.supervisor import free_port


def run_service(
    tmp_path: Path, folder: Path, modules: Iterable[str], spec: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run one experiment to its end on a service with one worker; its view and its trials."""
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--workers", "1"]
    command += ["--data-dir", str(tmp_path / "data")]
    command += [part for module in modules for part in ("--import", module)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as service,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        try:
            answer = _patiently(lambda: http.post("/experiments", json={"spec": spec}))
            assert answer.status_code == 201, answer.text
            identity = answer.json()["id"]
            deadline = time.monotonic() + 200
            while (view := http.get(f"/experiments/{identity}").json())["state"] == "running":
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            trials = http.get(f"/experiments/{identity}/trials").json()["items"]
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
    return view, trials


def _patiently(request: Any) -> Any:
    for _ in range(300):
        try:
            return request()
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError("the server did not come up")
