"""The suggester: a process that keeps the queue of trials filled for every running experiment.

It uses the store directly. It has no state of its own: the search is rebuilt from the stored trials, so it
may be killed at any moment. A lease on the experiment fences the queue: of two suggesters only the holder of
the lease can append, after reading the stored trials.
"""

import os
import signal
import socket
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from service.client.backoff import Backoff
from service.schemas.trials import ExperimentState, ExperimentView
from service.store import Store, open_patiently
from service.store.suggestions import SuggesterLease
from service.suggester.search_process import Costs, SearchProcess, Watch, runs_user_code
from service.telemetry import span
from sparsemod.errors import (
    Conflict,
    NotFound,
    ProcessUnusable,
    ServerUnavailable,
    SparsemodError,
    StaleLease,
)
from sparsemod.pipeline.environment import data_failure, environment_failure
from sparsemod.records import TrialState
from sparsemod.sources.observation import Observation
from sparsemod.spec.experiment import ExperimentSpec

if TYPE_CHECKING:
    from sparsemod.pipeline.proposals import Proposer

log = structlog.get_logger("suggester")

LEASE_SECONDS = 60.0
"""Seconds until another suggester can take over an experiment after this one was killed."""

POLL_SECONDS = 0.2
"""Pause between two steps when there is nothing to do."""

RETRY_SECONDS = (0.5, 15.0)
"""First and longest pause after a database error."""

NO_MORE = "the search space has no more candidates"


@dataclass(frozen=True)
class _Basis:
    """The experiment and its trials as the search sees them in a request."""

    view: ExperimentView
    observations: list[Observation]

    @property
    def pending(self) -> bool:
        """Whether a trial was queued or running."""
        return any(item.pending for item in self.observations)


@dataclass
class _Leased:
    """An experiment under this suggester's lease, with the search built for its spec."""

    lease: SuggesterLease
    spec: ExperimentSpec | None = None
    search: "Proposer | SearchProcess | None" = None
    basis: _Basis | None = None  # of the last request
    revision: int = -1  # the experiment's revision at which there was nothing to do
    paused: bool = False  # whether this suggester has paused it
    lost: bool = False  # whether another suggester has taken the lease

    def current_basis(self, view: ExperimentView, store: Store) -> _Basis:
        """Return the basis of the request in progress, else a new one. A request lasts for several steps when the
        search runs in a process."""
        working = isinstance(self.search, SearchProcess) and self.search.busy and self.spec == view.spec
        if self.basis is None or not working:
            self.basis = _Basis(view, store.observations(view.id))
        return self.basis

    def close(self) -> None:
        """Kill the search's process, if it has one."""
        if isinstance(self.search, SearchProcess):
            self.search.close()

    def drop(self) -> None:
        """Drop the search after a failure of the machine. The next request rebuilds it."""
        self.close()
        self.search, self.spec, self.revision, self.paused = None, None, -1, True


def _unwatched(costs: Costs) -> Costs:
    return costs


def build_search(spec: ExperimentSpec, watch: Watch = _unwatched) -> "Proposer":
    """Build the search for a spec. `watch` wraps the function that computes exact costs.

    Raises the errors of the spec and its data, and EnvironmentFailure for data that cannot be read at the
    moment.
    """
    from sparsemod.data import load
    from sparsemod.pipeline.problem import Problem
    from sparsemod.pipeline.proposals import Proposer

    try:
        data = load(spec.dataset, targets=spec.task.targets, imports=False)
    except Exception as error:
        failure = data_failure(error)
        if failure is None:
            raise
        raise failure from error
    return Proposer.of(Problem.of(spec, data.info), watch)


class Suggester:
    """One suggester. `step` handles every running experiment once. `run` repeats it until a stop.

    `ahead`: number of trials to keep queued. 0 means the number of slots of the live workers: then no worker
    waits, and the search sees the newest results.
    """

    def __init__(
        self, store: Store, *, holder: str = "", ahead: int = 0, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._store, self._ahead, self._seconds = store, ahead, lease_seconds
        self._holder = holder or f"{socket.gethostname()}-{os.getpid()}"
        self._leased: dict[int, _Leased] = {}
        self._logged: dict[int, str] = {}
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set, then release the leases. Waits for a database that does not answer.

        Raises ProcessUnusable, after the release, when only a new process can search.
        """
        keeper = threading.Thread(target=self._keep_leases, args=(stop,), name="leases", daemon=True)
        keeper.start()
        backoff, unusable = Backoff(*RETRY_SECONDS), None
        while not stop.is_set():
            try:
                busy = self.step()
            except ServerUnavailable as error:
                log.warning("database unavailable, retrying", reason=str(error))
                stop.wait(backoff.pause())
                continue
            except ProcessUnusable as error:
                log.error("the suggester ends, to be started again", reason=str(error))
                unusable = error
                break
            backoff.reset()
            if not busy:
                stop.wait(POLL_SECONDS)
        stop.set()
        keeper.join()
        try:
            self.close()
        except ServerUnavailable as error:
            log.warning("leases not released, they will expire", reason=str(error))
        if unusable is not None:
            raise unusable

    def close(self) -> None:
        """Kill the searches' processes and release all leases."""
        with self._lock:
            leased, self._leased = dict(self._leased), {}
        for item in leased.values():
            item.close()
        for item in leased.values():
            self._store.release_suggester(item.lease)

    def step(self) -> bool:
        """Handle every running experiment once.

        Return whether anything was done. Raises ServerUnavailable, and ProcessUnusable when only a new process can search.
        """
        waiting = self._store.searches_paused()
        active = [identity for identity in self._store.active_experiments() if identity not in waiting]
        with self._lock:
            in_use = {*active, *waiting}
            released = [
                self._leased.pop(identity)
                for identity, item in list(self._leased.items())
                if item.lost or identity not in in_use
            ]
        for item in released:
            item.close()
            self._store.release_suggester(item.lease)
        busy = False
        for identity in active:
            try:
                leased = self._lease(identity)
                if leased is not None:
                    busy |= self._fill(leased)
            except (StaleLease, NotFound) as error:
                log.info("experiment left to another suggester", experiment=identity, reason=str(error))
                with self._lock:
                    lost = self._leased.pop(identity, None)
                if lost is not None:
                    lost.close()
            except Conflict as error:
                log.info("experiment changed meanwhile", experiment=identity, reason=str(error))
            except (ServerUnavailable, ProcessUnusable):
                raise
            except Exception as error:  # noqa: BLE001
                # The stored data of one experiment may have any shape. Continue with the others.
                self._log_once(identity, f"{type(error).__name__}: {error}")
        return busy

    def _log_once(self, identity: int, reason: str) -> None:
        """Log why an experiment gets no suggestions, once per reason."""
        if self._logged.get(identity) != reason:
            self._logged[identity] = reason
            log.error("no suggestions", experiment=identity, reason=reason)

    def _lease(self, identity: int) -> _Leased | None:
        """Return the experiment if this suggester holds or can take its lease, else None."""
        with self._lock:
            leased = self._leased.get(identity)
        if leased is None:
            lease = self._store.lease_suggester(identity, self._holder, self._seconds)
            if lease is None:
                return None
            leased = _Leased(lease)
            with self._lock:
                self._leased[identity] = leased
            log.info("suggesting", experiment=identity)
        return leased

    def _fill(self, leased: _Leased) -> bool:
        """Fill the queue of one experiment, or end the experiment. Return whether anything was done."""
        identity = leased.lease.experiment
        view = self._store.experiment(identity)
        if view.spec_error is not None:
            self._log_once(identity, f"its stored spec is not valid: {view.spec_error}")
            return False
        if view.revision == leased.revision:
            return False
        count = self._wanted(view)
        if count <= 0:
            leased.revision = view.revision
            return False
        basis = leased.current_basis(view, self._store)
        try:
            with span("suggest", sparsemod_experiment=identity, sparsemod_wanted=count):
                answer = self._request_suggestions(leased, view.spec, basis.observations, count)
        except Exception as error:
            failure = environment_failure(error)
            if isinstance(failure, ProcessUnusable) and not isinstance(leased.search, SearchProcess):
                raise failure from error
            if failure is not None:
                leased.drop()
                pause = self._store.pause("search", str(failure), experiment=identity, claims=False)
                log.warning("search paused", experiment=identity, reason=str(failure), pause=pause)
                return True
            if isinstance(error, SparsemodError):
                self._fail_experiment(view, basis, str(error))
                return True
            # A user's family may raise anything during screening. End its experiment, not the suggester.
            log.error("suggesting failed", experiment=identity, traceback=traceback.format_exc())
            self._fail_experiment(view, basis, f"suggesting failed: {type(error).__name__}: {error}")
            return True
        if answer is None:
            return False
        reason, suggestions = answer
        if leased.paused:
            self._store.unpause("search", experiment=identity)
            leased.paused = False
        if suggestions:
            indices = self._store.queue(leased.lease, suggestions)
            live = sum(item.feasible for item in suggestions)
            log.info(
                "queued",
                experiment=identity,
                first=indices[0],
                trials=live,
                infeasible=len(suggestions) - live,
            )
            return True
        if basis.pending:
            leased.revision = basis.view.revision
            return False
        self._end_experiment(basis.view, ExperimentState.DONE, reason or NO_MORE)
        return True

    def _wanted(self, view: ExperimentView) -> int:
        """Return the number of trials missing in the queue, at least one batch of the spec's size, or 0."""
        if view.spec.source.waits:
            pending = view.counts.get(TrialState.QUEUED, 0) + view.counts.get(TrialState.RUNNING, 0)
            return 0 if pending else view.spec.source.batch
        ahead = self._ahead
        if ahead == 0:
            ahead = max(
                1,
                sum(worker.slots for worker in self._store.workers() if worker.alive and not worker.draining),
            )
        missing = ahead - view.counts.get(TrialState.QUEUED, 0)
        return max(missing, view.spec.source.batch) if missing > 0 else 0

    def _request_suggestions(
        self, leased: _Leased, spec: ExperimentSpec, observations: list[Observation], count: int
    ) -> tuple[str | None, list[Any]] | None:
        """Return (reason to end or None, suggestions), or None while the search's process still works on
        them."""
        if leased.search is None or leased.spec != spec:
            leased.close()
            isolated = runs_user_code(spec)
            leased.search = SearchProcess(spec, build_search) if isolated else build_search(spec)
            leased.spec = spec
        if isinstance(leased.search, SearchProcess):
            if not leased.search.busy:
                leased.search.ask(observations, count)
            return leased.search.answer()
        reason = leased.search.done(observations)
        return reason, ([] if reason is not None else leased.search.next(observations, count))

    def _fail_experiment(self, view: ExperimentView, basis: _Basis, reason: str) -> None:
        """End the experiment after an error of its search. Raises Conflict when trials were added since `basis`.

        Progress of running trials since then does not matter.
        """
        if sum(view.counts.values()) != len(basis.observations):
            raise Conflict(f"trials were added to experiment {view.id} while its search ran")
        self._end_experiment(view, ExperimentState.FAILED, reason)

    def _end_experiment(self, view: ExperimentView, state: ExperimentState, reason: str) -> None:
        """End the experiment unless it has changed since `view`. Raises Conflict then."""
        self._store.finish_experiment(view.id, state, reason, view.revision)
        log.info("experiment over", experiment=view.id, state=str(state), reason=reason)

    def _keep_leases(self, stop: threading.Event) -> None:
        """Renew the leases in the background: a suggestion may take longer than a lease."""
        while not stop.wait(self._seconds / 3):
            with self._lock:
                leased = list(self._leased.values())
            for item in leased:
                try:
                    self._store.renew_suggester(item.lease, self._seconds)
                except Conflict:
                    item.lost = True  # the next step kills its process
                except ServerUnavailable:
                    break  # the main loop logs it; the next iteration retries


def run_suggester(settings: Any, *, holder: str = "", ahead: int = 0) -> None:
    """Run the suggester as a process. SIGTERM and SIGINT end it between two steps."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = open_patiently(settings, stop.is_set)
    if store is None:
        return
    import torch

    from sparsemod.importing.places import offer

    offer(settings.artifacts_dir)
    # The workers need the cores, and the models here are small.
    torch.set_num_threads(1)
    log.info("ready")
    Suggester(store, holder=holder, ahead=ahead).run(stop)
