"""A family and a dataset of the user's own through real processes, as docs/own.md says: `sparsemod serve --import own_network`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
from support_specs import small

from service.processes.supervisor import free_port

EXAMPLES = Path(__file__).parents[1] / "examples"
SPEC = small(
    "own",
    (3, 1, 1),
    (2, 2, 1),
    dataset={"name": "stripes", "options": {"samples": 300}},
    network={"family": "strided"},
)


def test_the_example_runs_as_a_service(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--workers", "1"]
    command += ["--data-dir", str(tmp_path / "data"), "--import", "own_network"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=EXAMPLES, env=environment, stdout=log, stderr=log) as service,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        try:
            identity = _patiently(lambda: http.post("/experiments", json={"spec": SPEC}).json()["id"])
            deadline = time.monotonic() + 200
            while (view := http.get(f"/experiments/{identity}").json())["state"] == "running":
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            trials = http.get(f"/experiments/{identity}/trials").json()["items"]
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
    assert view["state"] == "done", view["reason"]
    assert [trial["failure"] for trial in trials] == [None] * 5
    assert {trial["state"] for trial in trials} == {"completed"}
    assert [trial["candidate"]["round"] for trial in trials] == ["r1"] * 3 + ["r2", "r3"]


def _patiently(request: Callable[[], int]) -> int:
    for _ in range(300):
        try:
            return request()
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError("the server did not come up")
