"""The service's settings: from arguments, else from environment variables with the prefix SPARSEMOD_."""

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sparsemod.errors import InvalidInput


class Settings(BaseSettings):
    """What the server and the suggester need to know. Each field is also an environment variable: SPARSEMOD_DATA_DIR, ..."""

    model_config = SettingsConfigDict(env_prefix="SPARSEMOD_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        Path("sparsemod-data"),
        description="Folder of the database (unless a URL is given) and of the artifacts.",
    )
    database_url: str = Field(
        "",
        description="Database URL, for example postgresql://user:password@host/sparsemod; empty: an SQLite file in the data folder.",
    )
    lease_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Seconds without a heartbeat after which a worker counts as lost and its trial is queued again.",
    )
    max_request_bytes: int = Field(
        8 * 1024**2,
        ge=1024,
        description="Largest report of a worker. Specs have a limit of 1 MB, other requests of 64 KiB, uploads one of their own.",
    )
    max_artifact_bytes: int = Field(512 * 1024**2, ge=1, description="Largest artifact.")
    imports: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Modules to import at start, separated by commas: they register families and datasets of your own.",
    )
    dataset_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders, separated by commas, from which experiments that come over HTTP may read data, besides that of SPARSEMOD_DATA.",
    )
    ax_export_seconds: float = Field(
        300.0, gt=0, description="Longest time that the conversion of an experiment for Ax may take."
    )

    export_seconds: float = Field(
        300.0, gt=0, description="Longest time that the export of one trial's network may take."
    )

    compute_seconds: float = Field(
        180.0,
        gt=0,
        description="Longest time that the graph of a network or the importance of parameters may take to compute.",
    )

    database_lock_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Longest time that a statement waits for a lock in the database. Then the request is answered with 503.",
    )

    database_statement_seconds: float = Field(
        60.0, gt=0, le=86_400, description="Longest time that a statement may run in the database."
    )

    min_free_bytes: int = Field(
        100 * 1024**2,
        ge=0,
        description="Free space on the disk of the data folder below which the server is not ready (`/health` answers 503).",
    )

    @field_validator("imports", "dataset_dirs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @property
    def url(self) -> str:
        """The database's URL, the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'sparsemod.db'}"

    @property
    def artifacts_dir(self) -> Path:
        """Where artifacts lie."""
        return self.data_dir / "artifacts"

    def check_host(self, host: str, closed: bool) -> None:
        """Refuse an address that other machines reach, unless the database has a token (`closed`). Raises InvalidInput."""
        if closed or is_local(host):
            return
        place = "--database ..." if self.database_url else f"--data-dir {self.data_dir}"
        raise InvalidInput(
            "host",
            host,
            "127.0.0.1, ::1 or localhost as long as there is no token, since whoever reached the server could do everything; "
            f"`sparsemod token create NAME --scope admin {place}` makes one",
        )


def is_local(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def is_address(host: str) -> bool:
    """Whether a host is given as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
