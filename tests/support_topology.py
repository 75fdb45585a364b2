"""The services of docker-compose.yml as plain processes: their own commands and environments, with this machine's ports and folders."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from support_compose import ROOT, health_command, instructions, load
from support_postgres import Postgres

from service.processes.supervisor import free_port


def image_environment() -> dict[str, str]:
    """The variables that docker/Dockerfile sets."""
    words = [word for step in instructions() if step.name == "ENV" and step.stage == 2 for word in step.words]
    return dict(word.split("=", 1) for word in words if not word.startswith("PATH="))


class Topology:
    """Containers without containers.

    A name such as `worker-2` is the second process of the service `worker`. The compose file's `server` is
    one name for all servers; here each is `server-N`, and a worker gets the name of its server.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.variables = folder, dict(variables)
        self.ports = {name: free_port() for name in ("database", "server-1", "server-2")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.postgres: Postgres | None = None
        self.volumes = {
            "/var/lib/sparsemod": folder / "artifacts",
            "/datasets": folder / "datasets",
            "/modules": folder / "modules",
        }
        for path in (*self.volumes.values(), folder / "bin"):
            path.mkdir()
        script = folder / "bin" / "sparsemod"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m service.cli "$@"\n')
        script.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
        if self.postgres is not None:
            self.postgres.close()

    def url(self, name: str) -> str:
        """The address of a server."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def start_database(self) -> None:
        """Does the setup of PostgreSQL's image from its variables: a role with a password, and its database."""
        from psycopg import sql

        given = load(self.variables)["services"]["database"]["environment"]
        self.postgres = Postgres(self.ports["database"])
        with self.postgres.connect() as connection:
            role, database = sql.Identifier(given["POSTGRES_USER"]), sql.Identifier(given["POSTGRES_DB"])
            password = sql.Literal(given["POSTGRES_PASSWORD"])
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def service(self, name: str, server: str = "server-1") -> dict[str, Any]:
        """A service of the compose file, in this machine's words."""
        if name in self.ports:
            server = name
        port = str(self.ports[server])
        words = {"8080": port, "--port=5432": f"--port={self.ports['database']}"}
        parts = {
            "database:5432": f"127.0.0.1:{self.ports['database']}",
            "server:8080": f"127.0.0.1:{port}",
            "127.0.0.1:8080": f"127.0.0.1:{port}",
        }

        def here(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: here(item) for key, item in value.items()}
            if isinstance(value, list):
                return [here(item) for item in value]
            if isinstance(value, str):
                for old, new in parts.items():
                    value = value.replace(old, new)
                return words.get(value, value)
            return value

        found: dict[str, Any] = here(load(self.variables)["services"][name.rstrip("-0123456789")])
        return found

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        """Return a service's environment: the variables of the image and the service, and from ours only the
        location of Python."""
        inherited = {name: os.environ[name] for name in ("PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
        programs = [str(self.folder / "bin")]
        if self.postgres is not None:
            programs.append(str(self.postgres.bin))
        path = os.pathsep.join([*programs, os.environ.get("PATH", os.defpath)])
        image = {name: str(self.volumes.get(value, value)) for name, value in image_environment().items()}
        return {**inherited, "PATH": path, "HOME": str(self.folder), **image, **service["environment"]}

    def start(self, name: str, server: str = "server-1") -> None:
        """Start a process of a service; its output goes to NAME.log."""
        service = self.service(name, server)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                ["sparsemod", *service["command"]],
                executable=self.folder / "bin" / "sparsemod",
                env=self.environment(service),
                cwd=self.volumes["/modules"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm NAME WORDS`; without words the service's own command."""
        service = self.service(name)
        command = [str(self.folder / "bin" / "sparsemod"), *(words or service["command"])]
        return self._finish(command, service)

    def health(self, name: str, server: str = "server-1") -> int:
        """Run a service's health check; its exit code."""
        service = self.service(name, server)
        return self._finish(health_command(service), service).returncode

    def _finish(self, command: list[str], service: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment(service), cwd=self.volumes["/modules"], check=False, capture_output=True, text=True, timeout=120
        )  # fmt: skip

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> dict[str, int]:
        """`docker compose stop`: send SIGTERM to all processes at the same time; return their exit codes."""
        ended = [(name, self.running.pop(name)) for name in names]
        for _, process in ended:
            process.send_signal(signal.SIGTERM)
        return {name: process.wait(timeout=120) for name, process in ended}

    def logs(self) -> str:
        """Return the logs of the processes, for a failing test."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log"))
        )


def documented(begin: str) -> list[list[str]]:
    """The rest of each command of docs/deployment.md that begins so, as words."""
    lines = (ROOT / "docs" / "deployment.md").read_text().splitlines()
    return [shlex.split(line.removeprefix(begin), comments=True) for line in lines if line.startswith(begin)]


def until(condition: Any, limit: float, what: str) -> None:
    """Wait for `condition`."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit:g} s for {what}")
        time.sleep(0.1)
