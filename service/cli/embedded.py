"""The processes of an embedded service: server, suggester, local workers."""

import socket
from pathlib import Path

from service.client.credentials import VARIABLE
from service.processes.supervisor import Program, command


def local_url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{reachable}:{port}"


def programs(
    host: str,
    port: int,
    data_dir: Path,
    database: str,
    workers: int,
    *,
    token: str = "",
    logs: Path | None = None,
    drain: float = 20.0,
    root_path: str = "",
) -> list[Program]:
    """Return the processes of an embedded service, in starting order.
    `token` is for the workers; `logs` is the folder for their output."""
    # A database URL may contain a password, which must not appear in a list of processes.
    environment = {"SPARSEMOD_DATABASE_URL": database} if database else {}
    place = ["--data-dir", str(data_dir)]
    url = local_url(host, port)
    api = command("serve", "--only-server", "--host", host, "--port", str(port), *place)
    api += ["--root-path", root_path] if root_path else []
    # A restarted suggester with its old name does not wait for its old lease to expire.
    name = f"{socket.gethostname()}:{port}"

    def program(name: str, line: list[str], seconds: float, **more: str) -> Program:
        output = logs / f"{name}.log" if logs else None
        return Program(name, line, stop_seconds=seconds, output=output, environment={**environment, **more})

    processes = [
        program("server", api, 10.0),
        program("suggester", command("suggester", *place, "--name", name), 15.0, OMP_NUM_THREADS="1"),
    ]
    secret = {VARIABLE: token} if token else {}  # in the environment, because every user sees command lines
    for number in range(1, workers + 1):
        line = command("worker", "--cpu", "--server", url, "--name", f"local-{number}", "--drain", str(drain))
        processes.append(program(f"worker-{number}", line, drain + 30.0, **secret))
    return processes
