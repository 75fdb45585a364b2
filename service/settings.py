"""Settings of the service, from arguments or from environment variables with the prefix SPARSEMOD_."""

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sparsemod.errors import InvalidInput


class Settings(BaseSettings):
    """Settings of the server and the suggester.

    Each field has an environment variable: SPARSEMOD_DATA_DIR, ...
    """

    model_config = SettingsConfigDict(env_prefix="SPARSEMOD_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        Path("sparsemod-data"),
        description="Folder for the artifacts, and for the SQLite database unless a URL is given.",
    )
    database_url: str = Field(
        "",
        description="Database URL, such as postgresql://user:password@host/sparsemod; "
        "empty: an SQLite file in the data folder.",
    )
    lease_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Seconds without a heartbeat until a worker counts as lost and its trial is queued again.",
    )
    max_request_bytes: int = Field(
        8 * 1024**2,
        ge=1024,
        description="Size limit of a worker's report. Specs are limited to 1 MB, other requests to 64 KiB; "
        "uploads have a separate limit.",
    )
    max_artifact_bytes: int = Field(512 * 1024**2, ge=1, description="Size limit of an artifact.")
    imports: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Modules to import at start, separated by commas. They register your own families and datasets.",
    )
    dataset_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders, separated by commas, from which experiments created over HTTP may read data, "
        "besides SPARSEMOD_DATA.",
    )
    ax_export_seconds: float = Field(
        300.0, gt=0, description="Time limit for converting an experiment to Ax's format."
    )

    export_seconds: float = Field(
        300.0, gt=0, description="Time limit for exporting the network of one trial."
    )

    compute_seconds: float = Field(
        180.0,
        gt=0,
        description="Time limit for computing a network's graph or the importance of parameters.",
    )

    database_lock_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Time limit for a database statement to wait for a lock. Then the server answers 503.",
    )

    database_statement_seconds: float = Field(
        60.0, gt=0, le=86_400, description="Time limit for a database statement to run."
    )

    min_free_bytes: int = Field(
        100 * 1024**2,
        ge=0,
        description="Minimum free space on the data folder's disk. Below it the server is not ready "
        "(`/health` answers 503).",
    )

    retention_artifact_days: float = Field(
        0.0,
        ge=0,
        description="Days after the end of an experiment until the files of its dominated trials are deleted; "
        "0: never.",
    )
    retention_event_days: float = Field(0.0, ge=0, description="Days until events are deleted; 0: never.")
    retention_log_days: float = Field(
        0.0, ge=0, description="Days after the end of an attempt until its log is deleted; 0: never."
    )
    retention_audit_days: float = Field(
        0.0, ge=0, description="Days until entries of the audit trail are deleted; 0: never."
    )

    quota_disk_bytes: int = Field(
        0, ge=0, description="Bytes of artifacts and uploaded models that one owner may store; 0: no limit."
    )
    quota_uploads: int = Field(0, ge=0, description="Uploaded models that one owner may store; 0: no limit.")
    quota_experiments: int = Field(0, ge=0, description="Experiments that one owner may store; 0: no limit.")
    quota_streams: int = Field(
        0,
        ge=0,
        description="Event streams that one owner may hold open on one server process; 0: no limit.",
    )

    webhook_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Receivers of webhooks for all changes, separated by commas; see "
        "[webhooks](operations.md#webhooks).",
    )
    webhook_secret: str = Field("", description="Key of the signatures for these receivers.")
    webhook_private_addresses: bool = Field(
        False, description="Whether webhooks may go to this machine and to private networks."
    )

    telemetry: bool = Field(
        False,
        description="Whether server, suggester and workers send OpenTelemetry traces; see "
        "[traces](operations.md#traces).",
    )

    access_log: bool = Field(False, description="Whether each request has a line in the log.")

    @field_validator("imports", "dataset_dirs", "webhook_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @property
    def url(self) -> str:
        """Return the database URL, or the default when none is set."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'sparsemod.db'}"

    @property
    def artifacts_dir(self) -> Path:
        """Return the folder of the artifacts."""
        return self.data_dir / "artifacts"

    def check_host(self, host: str, closed: bool) -> None:
        """Raise InvalidInput when other machines can reach `host` and the database has no token (`closed` is
        false)."""
        if closed or is_local(host):
            return
        place = "--database ..." if self.database_url else f"--data-dir {self.data_dir}"
        raise InvalidInput(
            "host",
            host,
            "127.0.0.1, ::1 or localhost while no token exists: without one, anyone who can reach the server "
            f"can do everything; `sparsemod token create NAME --scope admin {place}` creates one",
        )


def is_local(host: str) -> bool:
    """Return whether a host name or address reaches only this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
