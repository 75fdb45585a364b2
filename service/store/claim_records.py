"""The claim of a worker, from the rows of its trial and its attempt."""

from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from service.schemas.workers import Claim, ParentTrial
from service.store.claim_statements import CLAIMED
from service.store.reports import Reports
from service.store.stored_spec import StoredSpecInvalid
from service.store.tables import trial_artifacts, trials
from service.store.trial_rows import artifact, candidate
from sparsemod.records import TrialState


class Unreadable(Exception):
    """A claim is impossible because the stored data of an experiment, or of one trial (by id), do not
    validate."""

    def __init__(self, experiment: int, trial: int | None, reason: str) -> None:
        self.experiment, self.trial, self.reason = experiment, trial, reason
        super().__init__(reason)


class ClaimRecords(Reports):
    """Methods of the store that read claims."""

    def _repeated_claim(self, connection: sa.Connection, attempt_id: int) -> Claim | None:
        """Return the claim of a running attempt, None when its stored data do not validate any more."""
        try:
            return self._read_claim(connection, attempt_id)
        except Unreadable:
            return None

    def _read_claim(self, connection: sa.Connection, attempt_id: int) -> Claim:
        """Read an attempt's claim. Raises Unreadable."""
        row = connection.execute(CLAIMED, {"which": attempt_id}).one()
        return self._claim_of(connection, attempt_id, row, row.token, row.spec_text)

    def _claim_of(
        self, connection: sa.Connection, attempt_id: int, row: Any, token: str, spec_text: str
    ) -> Claim:
        """Return the claim of a row of `trials`. Raises Unreadable."""
        try:
            return self._build_claim(connection, attempt_id, row, token, spec_text)
        except StoredSpecInvalid as error:
            raise Unreadable(row.experiment_id, None, str(error)) from error
        except ValidationError as error:
            raise Unreadable(row.experiment_id, row.id, str(error)) from error

    def _build_claim(
        self, connection: sa.Connection, attempt_id: int, row: Any, token: str, spec_text: str
    ) -> Claim:
        stored = self._stored_text(row.experiment_id, spec_text)
        if stored.error is not None:
            raise StoredSpecInvalid(row.experiment_id, str(stored.error))
        return Claim(
            attempt=attempt_id,
            token=token,
            lease_seconds=self.lease_seconds,
            experiment=row.experiment_id,
            trial=row._mapping["index"],
            spec=stored.spec,
            candidate=candidate(row._mapping),
            epochs=row.epochs,
            seed=row.seed,
            parent=self._parent(connection, row.experiment_id, row.parent),
            checkpoint=row.checkpoint,
        )

    def _parent(self, connection: sa.Connection, experiment_id: int, index: int | None) -> ParentTrial | None:
        if index is None:
            return None
        query = sa.select(trials).where(
            trials.c.experiment_id == experiment_id,
            trials.c.index == index,
            trials.c.state == TrialState.COMPLETED,
        )
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        files = connection.execute(sa.select(trial_artifacts).where(trial_artifacts.c.trial_id == row.id))
        return ParentTrial(
            index=index,
            parameters=row.parameters,
            epochs=row.trained_epochs,
            artifacts=tuple(artifact(f) for f in files),
        )
