"""What retention may delete, and what a pass of it deleted."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.settings import Settings

DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Policy:
    """Ages in days from which on things are deleted; None keeps them for ever.

    `artifacts`: counted from the end of the experiment. `events`, `logs`, `audit`: from the entry, for logs from the
    end of the attempt.
    """

    artifacts: float | None = None
    events: float | None = None
    logs: float | None = None
    audit: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Policy":
        """Return the policy of the settings."""
        return cls(
            artifacts=settings.retention_artifact_days or None,
            events=settings.retention_event_days or None,
            logs=settings.retention_log_days or None,
            audit=settings.retention_audit_days or None,
        )

    @property
    def empty(self) -> bool:
        """Return whether nothing is ever deleted."""
        return all(days is None for days in (self.artifacts, self.events, self.logs, self.audit))


NOTHING = Policy()
"""The policy that keeps everything."""


@dataclass
class Expired:
    """What a pass deleted, or what it would delete: counts, and the bytes of the files."""

    trials: int = 0
    files: int = 0
    bytes: int = 0
    events: int = 0
    log_lines: int = 0
    audit: int = 0
    by_experiment: dict[int, list[int]] = field(default_factory=dict)
    """Experiment -> indices of the trials that lose files."""

    def counts(self) -> dict[str, int]:
        """Return the counts by name."""
        names = ("trials", "files", "bytes", "events", "log_lines", "audit")
        return {name: getattr(self, name) for name in names}

    @property
    def nothing(self) -> bool:
        """Return whether nothing is deleted."""
        return not any(self.counts().values())


def total(steps: Iterable[Expired]) -> Expired:
    """Return the sum of the steps of `Retention.expire`."""
    found = Expired()
    for step in steps:
        for name, count in step.counts().items():
            setattr(found, name, getattr(found, name) + count)
        found.by_experiment.update(step.by_experiment)
    return found
