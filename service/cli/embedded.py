"""The processes of an embedded service: server, suggester, local workers."""

import socket
from pathlib import Path

from service.client.credentials import VARIABLE
from service.processes.supervisor import Program, command


def local_url(host: str, port: int) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
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
    """The processes of an embedded service, in the order of starting; `token` is the workers'. With `logs` their output goes to files in that folder."""
    # A database URL may hold a password, which has no business in a list of processes.
    environment = {"SPARSEMOD_DATABASE_URL": database} if database else {}
    place = ["--data-dir", str(data_dir)]
    url = local_url(host, port)
    api = command("serve", "--only-server", "--host", host, "--port", str(port), *place)
    api += ["--root-path", root_path] if root_path else []
    # A suggester that is started again under its old name need not wait for its old lease to run out.
    name = f"{socket.gethostname()}:{port}"

    def program(name: str, line: list[str], seconds: float, **more: str) -> Program:
        output = logs / f"{name}.log" if logs else None
        return Program(name, line, stop_seconds=seconds, output=output, environment={**environment, **more})

    found = [
        program("server", api, 10.0),
        program("suggester", command("suggester", *place, "--name", name), 15.0, OMP_NUM_THREADS="1"),
    ]
    shown = {VARIABLE: token} if token else {}  # in the environment: a command line is seen by everybody
    for number in range(1, workers + 1):
        line = command("worker", "--cpu", "--server", url, "--name", f"local-{number}", "--drain", str(drain))
        found.append(program(f"worker-{number}", line, drain + 30.0, **shown))
    return found
