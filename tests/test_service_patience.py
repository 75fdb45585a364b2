"""`serve` waits for its database, like the suggester, and ends on a signal while it waits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support_postgres import Postgres

from service.client.client import Client
from service.processes.supervisor import free_port
from sparsemod.errors import ServerUnavailable


def until(there: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while not there():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.1)


def serve(folder: Path, port: int, database: str, *more: str) -> subprocess.Popen[bytes]:
    line = [
        sys.executable,
        "-m",
        "service.cli",
        "serve",
        "--workers",
        "0",
        "--port",
        str(port),
        "--data-dir",
        str(folder),
        *more,
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            line, stdout=log, stderr=log, env={**os.environ, "SPARSEMOD_DATABASE_URL": database}
        )


@pytest.mark.long
def test_the_supervisor_waits_for_its_database(tmp_path: Path) -> None:
    port, database_port = free_port(), free_port()
    url = f"postgresql://postgres:secret@127.0.0.1:{database_port}/postgres"
    process = serve(tmp_path, port, url)
    try:
        until(lambda: b"database unavailable" in (tmp_path / "log").read_bytes(), process)
        server = Postgres(database_port)
        try:
            with server.connect() as connection:
                connection.execute("ALTER USER postgres PASSWORD 'secret'")
            with Client(f"http://127.0.0.1:{port}", attempts=1) as client:

                def ready() -> bool:
                    try:
                        return client.health().status == "ok"
                    except ServerUnavailable:
                        return False

                until(ready, process)
            assert b"secret" not in (tmp_path / "log").read_bytes()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            server.close()
    finally:
        process.kill()
        process.wait()


def test_a_supervisor_that_waits_can_be_ended(tmp_path: Path) -> None:
    process = serve(
        tmp_path, free_port(), f"postgresql://postgres@127.0.0.1:{free_port()}/postgres", "--only-server"
    )
    try:
        until(lambda: b"database unavailable" in (tmp_path / "log").read_bytes(), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
