"""Groups of reports: several workers report a result and claim their next trial in one transaction.

Each commit waits for the disk, and on PostgreSQL it holds the experiment's row meanwhile. Reports that wait at the
same time therefore share a transaction, and its statements. Nothing is answered before the commit. A report that
cannot share it (a failure, a stale token, an inconsistent result, a repetition) is handled by itself; when the
transaction of the group fails, each of its reports is.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
import structlog

from service.schemas.trials import AttemptState, LogLine
from service.schemas.workers import AttemptOutcome, Claim, ClaimRequest
from service.store.attempts import SEEN_EVERY_SECONDS, Attempts, Unreadable, running_event
from service.store.engine import ADD_EVENT, COUNT_EVENT
from service.store.files import lock_files
from service.store.group_statements import (
    ADD_ATTEMPTS,
    BARS,
    EXPERIMENT,
    REPORT_ALL_AT_ONCE,
    REPORTED_ALL,
    RUNNING_ATTEMPTS,
    SET_TRIALS,
    TAKE_ALL,
    TAKE_ALL_AT_ONCE,
)
from service.store.report_statements import SET_ATTEMPT
from service.store.reports import artifact_rows, check_result, log_row, point_rows
from service.store.stored_spec import StoredSpec
from service.store.tables import trial_artifacts
from service.store.trial_rows import ADD_MEASUREMENTS, measurement_rows
from sparsemod.errors import InvalidInput, NotFound, ServerUnavailable, SparsemodError
from sparsemod.records import TrialResult, TrialState

log = structlog.get_logger("store")

_ADD_FILES = sa.insert(trial_artifacts)


@dataclass(frozen=True)
class Report:
    """A worker's report of a result together with its next claim; `login`: the id of its token."""

    attempt: int
    token: str
    result: TrialResult
    ask: ClaimRequest
    log: Sequence[LogLine] = ()
    login: int | None = None


Answer = AttemptOutcome | Exception
"""The outcome of a report with the next claim, or the error that `finish` or `claim` raises."""


@dataclass
class _Shared:
    """What the transaction of a group has found so far: position of a report -> row of its attempt, answers; and the
    specs of experiments."""

    rows: dict[int, Any] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    specs: dict[int, tuple[str, StoredSpec, bool]] = field(default_factory=dict)
    claims: dict[int, Claim] = field(default_factory=dict)
    alone: list[int] = field(default_factory=list)
    """Positions of reports whose claim needs a transaction of its own."""


class Groups(Attempts):
    """Methods of the store for reports that claim the next trial."""

    def finish_and_claim(
        self,
        attempt_id: int,
        token: str,
        result: TrialResult,
        ask: ClaimRequest,
        log: Sequence[LogLine] = (),
        login: int | None = None,
    ) -> AttemptOutcome:
        """End the attempt as `finish` does and claim the next trial, usually in the same transaction.

        Repeating the report returns the same answer, with the same claim while it runs. Raises the errors of
        `finish` and `claim`; a repetition is safe after each of them.
        """
        (answer,) = self.finish_and_claim_all([Report(attempt_id, token, result, ask, log, login)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def finish_and_claim_all(self, reports: Sequence[Report]) -> list[Answer]:
        """Do for each report what `finish_and_claim` does, and return the answers in their order.

        Raises nothing: an error is the answer to its report, and the others are not affected.
        """
        now = self.clock()
        answers: dict[int, Answer] = {}
        shared = _Shared()
        try:
            with self._write() as connection:
                self._together(connection, reports, now, shared)
            answers = shared.answers
            self._seen.update((reports[place].ask.worker, now) for place in shared.rows)
        except (SparsemodError, Unreadable) as error:
            shared = _Shared()
            if len(reports) > 1:
                log.warning("reports handled one by one", count=len(reports), reason=str(error))
        except Exception:
            shared = _Shared()
            log.exception("reports handled one by one", count=len(reports))
        unavailable = 0
        for place, report in enumerate(reports):
            if place in answers and place not in shared.alone:
                continue
            try:
                if unavailable > 1:  # do not let the others wait for the same time limits
                    raise ServerUnavailable("the database does not answer")
                answers[place] = self._by_itself(report, answers.get(place))
            except Exception as error:  # noqa: BLE001 - the caller raises it for this report alone
                unavailable += isinstance(error, ServerUnavailable)
                answers[place] = error
        return [answers[place] for place in range(len(reports))]

    def _by_itself(self, report: Report, outcome: Answer | None) -> AttemptOutcome:
        """End the attempt, unless its `outcome` is given, and claim in a transaction of its own."""
        if not isinstance(outcome, AttemptOutcome):
            outcome = self.finish(report.attempt, report.token, report.result, report.log)
        ask = report.ask
        following = self.claim(ask.worker, ask.device, ask.slots, ask.request, report.login)
        return outcome.model_copy(update={"next": following})

    def _together(
        self, connection: sa.Connection, reports: Sequence[Report], now: float, shared: _Shared
    ) -> None:
        """Handle all reports that can share the transaction. Raises Unreadable and the errors of the database."""
        self._lock_reported(connection, reports, shared)
        if not shared.rows:
            return
        self._claim_together(connection, reports, now, shared)
        finished, happened = self._count_events(connection, reports, now, shared)
        self._store_results(connection, reports, now, shared, finished, happened)
        self._end_pauses(connection, shared)
        for place, row in shared.rows.items():
            shared.answers[place] = AttemptOutcome(
                experiment=row.experiment_id,
                trial=row._mapping["index"],
                state=reports[place].result.state,
                next=shared.claims.get(place),
            )

    def _lock_reported(self, connection: sa.Connection, reports: Sequence[Report], shared: _Shared) -> None:
        """Find the reports that can share the transaction, and check them."""
        places = {
            report.attempt: place
            for place, report in reversed(list(enumerate(reports)))
            if report.result.state in (TrialState.COMPLETED, TrialState.INFEASIBLE)
        }
        if not places:
            return
        found = connection.execute(REPORTED_ALL[self._postgres], {"which": sorted(places)}).all()
        good = {}
        for row in found:
            place = places[row.attempt_id]
            if row.attempt_state == AttemptState.RUNNING and row.token == reports[place].token:
                good[place] = row
        digests = {file.digest for place in good for file in reports[place].result.artifacts}
        sizes = lock_files(connection, sorted(digests)) if digests else {}
        for place in sorted(good):
            row, result = good[place], reports[place].result
            stored = self._spec_of(connection, row.experiment_id, shared)[1]
            try:
                check_result(result, () if stored.error is not None else stored.spec.objectives)
                artifact_rows(row.id, result.artifacts, sizes)
            except InvalidInput as error:
                shared.answers[place] = error
            else:
                shared.rows[place] = row

    def _spec_of(
        self, connection: sa.Connection, experiment: int, shared: _Shared
    ) -> tuple[str, StoredSpec, bool]:
        """Return the text of an experiment's spec, the spec, and whether there is any pause."""
        if experiment not in shared.specs:
            row = connection.execute(EXPERIMENT, {"which": experiment}).one()
            stored = self._stored_text(experiment, row.spec_text)
            shared.specs[experiment] = (row.spec_text, stored, bool(row.paused))
        return shared.specs[experiment]

    def _claim_together(
        self, connection: sa.Connection, reports: Sequence[Report], now: float, shared: _Shared
    ) -> None:
        """Take a trial for each report, the oldest first."""
        asks = {place: reports[place].ask for place in shared.rows}
        fresh = {
            ask.worker: ask
            for ask in asks.values()
            if now - self._seen.get(ask.worker, 0.0) > SEEN_EVERY_SECONDS
        }
        for name in sorted(fresh):
            self._record_worker(connection, name, fresh[name].device, fresh[name].slots, now)
        limited = {row.worker: bool(row.draining) for row in connection.execute(BARS, {"now": now})}
        asking = [place for place, ask in asks.items() if ask.worker not in limited]
        shared.alone = [place for place, ask in asks.items() if limited.get(ask.worker) is False]
        if not asking:
            return
        barred = self._still_barred(connection)
        asked = [
            {
                "place": number, "worker": asks[place].worker, "device": asks[place].device,
                "token": secrets.token_hex(16), "request": asks[place].request, "login": reports[place].login,
            }
            for number, place in enumerate(asking)
        ]  # fmt: skip
        for place, new, row, attempt in zip(
            asking, asked, *self._take_all(connection, asked, now, barred), strict=False
        ):
            text = self._spec_of(connection, row.experiment_id, shared)[0]
            shared.claims[place] = self._claim_of(connection, attempt, row, str(new["token"]), text)

    def _take_all(
        self, connection: sa.Connection, asked: list[dict[str, Any]], now: float, barred: dict[str, list[int]]
    ) -> tuple[list[Any], list[int]]:
        """Take at most as many trials as `asked`, add their attempts; return the rows and the attempts' ids."""
        bound = {"now": now, "count": len(asked), "expires_at": now + self.lease_seconds, **barred}
        if self._postgres:
            rows = list(connection.execute(TAKE_ALL_AT_ONCE[bool(barred)], {**bound, "asked": asked}))
            return rows, [row.attempt_id for row in rows]
        rows = sorted(connection.execute(TAKE_ALL[bool(barred)], bound), key=lambda row: row.id)
        if not rows:
            return [], []
        running = {
            "state": AttemptState.RUNNING.value, "started_at": now, "heartbeat_at": now,
            "expires_at": bound["expires_at"],
        }  # fmt: skip
        new = [
            {name: value for name, value in ask.items() if name != "place"} | {"trial_id": row.id, **running}
            for ask, row in zip(asked, rows, strict=False)
        ]
        connection.execute(ADD_ATTEMPTS, new)
        added = connection.execute(RUNNING_ATTEMPTS, {"which": [row.id for row in rows]})
        numbers = {row.trial_id: row.id for row in added}
        return rows, [numbers[row.id] for row in rows]

    def _count_events(
        self, connection: sa.Connection, reports: Sequence[Report], now: float, shared: _Shared
    ) -> tuple[dict[int, int], list[dict[str, Any]]]:
        """Lock the experiments, in the order of their ids, and number their events. Return the counter of each
        report's event, and the rows of all events."""
        listed: dict[int, list[tuple[int | None, dict[str, Any]]]] = {}
        for place, row in shared.rows.items():
            data = {
                "index": row._mapping["index"], "state": reports[place].result.state.value,
                "attempt": row.attempt_id, "ending": AttemptState.COMPLETED.value,
            }  # fmt: skip
            listed.setdefault(row.experiment_id, []).append((place, data))
            claim = shared.claims.get(place)
            if claim is not None:
                running = running_event(claim, reports[place].ask.worker)
                listed.setdefault(claim.experiment, []).append((None, running))
        finished: dict[int, int] = {}
        rows = []
        for experiment in sorted(listed):
            count = len(listed[experiment])
            bound = {"which": experiment, "updated_at": now, "count": count}
            last = connection.execute(COUNT_EVENT, bound).scalar()
            if last is None:
                raise NotFound("experiment", experiment)
            for counter, (reported, data) in enumerate(listed[experiment], int(last) - count + 1):
                if reported is not None:
                    finished[reported] = counter
                rows.append(
                    {
                        "experiment_id": experiment,
                        "counter": counter,
                        "time": now,
                        "kind": "trial",
                        "data": data,
                    }
                )
        return finished, rows

    def _store_results(
        self,
        connection: sa.Connection,
        reports: Sequence[Report],
        now: float,
        shared: _Shared,
        finished: dict[int, int],
        happened: list[dict[str, Any]],
    ) -> None:
        """Write the ends of attempts and trials, and all rows of the reports."""
        rows: dict[str, list[dict[str, Any]]] = {"points": [], "measurements": [], "files": [], "log": []}
        ended = []
        for place, row in shared.rows.items():
            result = reports[place].result
            rows["points"] += point_rows(row.attempt_id, result.curve)
            rows["measurements"] += measurement_rows(row.id, result.measurements)
            rows["files"] += artifact_rows(row.id, result.artifacts)
            rows["log"] += [log_row(row.attempt_id, line) for line in reports[place].log]
            ended.append(
                {
                    "id": row.id, "attempt": row.attempt_id, "state": result.state.value, "trained_epochs": result.epochs,
                    "seconds": result.seconds, "notes": list(result.notes), "finished_event": finished[place],
                }
            )  # fmt: skip
        if self._postgres:
            connection.execute(REPORT_ALL_AT_ONCE, {"now": now, "ended": ended, "events": happened, **rows})
            return
        statements = {
            "points": self._add_points, "measurements": ADD_MEASUREMENTS, "files": _ADD_FILES,
            "log": self._add_log_lines,
        }  # fmt: skip
        for name, statement in statements.items():
            if rows[name]:
                connection.execute(statement, rows[name])
        connection.execute(ADD_EVENT, happened)
        connection.execute(
            SET_ATTEMPT,
            [
                {
                    "which": one["attempt"], "state": AttemptState.COMPLETED.value, "outcome": one["state"],
                    "ended_at": now, "heartbeat_at": now, "failure": None,
                }
                for one in ended
            ],
        )  # fmt: skip
        names = ("state", "trained_epochs", "seconds", "notes", "finished_event")
        connection.execute(
            SET_TRIALS,
            [
                {"which": one["id"], "now": now, **{f"set_{name}": one[name] for name in names}}
                for one in ended
            ],
        )

    def _end_pauses(self, connection: sa.Connection, shared: _Shared) -> None:
        """Remove the pauses of machines that work."""
        for row in shared.rows.values():
            if shared.specs[row.experiment_id][2]:
                self._machine_works(connection, row.worker, row.experiment_id)
