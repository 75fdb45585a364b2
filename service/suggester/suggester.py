"""Keeps a queue of trials ahead of the workers, for every running experiment; a process of its own, which talks to the store.

It holds no truth: the search is rebuilt from the stored trials, so that it may be killed at any moment. What it queues is fenced by a lease
on the experiment: of two suggesters only the one that holds the lease can append, and each appends after reading what is there.
"""

import os
import signal
import socket
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from service.schemas.trials import ExperimentState, ExperimentView
from service.store import Store, open_patiently
from service.store.suggestions import SuggesterLease, TrialRecord
from service.suggester.search_process import Costs, SearchProcess, Watch, runs_own_code
from sparsemod.errors import Conflict, NotFound, ServerUnavailable, SparsemodError, StaleLease
from sparsemod.pipeline.environment import data_failure, environment_failure
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec

if TYPE_CHECKING:
    from sparsemod.pipeline.proposals import Proposer
    from sparsemod.sources.observation import Observation

log = structlog.get_logger("suggester")

LEASE_SECONDS = 60.0
"""How long an experiment waits for another suggester after this one was killed."""

POLL_SECONDS = 0.2
"""Pause between looks when nothing is to do."""

RETRY_SECONDS = (0.5, 15.0)
"""First and longest pause after the database did not answer."""

NO_MORE = "the search space holds no further candidate"


@dataclass
class _Held:
    """An experiment under this suggester's lease, and the search that was built for its spec."""

    lease: SuggesterLease
    spec: ExperimentSpec | None = None
    search: "Proposer | SearchProcess | None" = None
    revision: int = -1  # the experiment's revision after which nothing was to do
    paused: bool = False  # whether this suggester has paused it

    def close(self) -> None:
        """End the search's process, if it has one."""
        if isinstance(self.search, SearchProcess):
            self.search.close()

    def drop(self) -> None:
        """Forget the search after a failure of the machine: the next one is made anew."""
        self.close()
        self.search, self.spec, self.revision, self.paused = None, None, -1, True


def _unwatched(costs: Costs) -> Costs:
    return costs


def build_search(spec: ExperimentSpec, watch: Watch = _unwatched) -> "Proposer":
    """The search for a spec, with exact costs asked through `watch`.

    Raises what is wrong with the spec or its data; EnvironmentFailure for data that cannot be read at the moment.
    """
    from sparsemod.data import load
    from sparsemod.pipeline.problem import Problem
    from sparsemod.pipeline.proposals import Proposer

    try:
        data = load(spec.dataset, imports=False)
    except Exception as error:
        lacking = data_failure(error)
        if lacking is None:
            raise
        raise lacking from error
    return Proposer.of(Problem.of(spec, data.info), watch)


def observation(record: TrialRecord) -> "Observation":
    """A stored trial as the search sees it."""
    from sparsemod.sources.observation import Observation

    return Observation(
        record.index,
        record.candidate,
        record.state,
        record.values,
        record.trained_epochs,
        record.failure,
        record.weights,
    )


class Suggester:
    """One suggester. `step` does one round over all running experiments; `run` steps until told to stop.

    `ahead` is how many trials are kept queued; 0 means as many as the living workers have slots, so that none waits and the model's view is
    as fresh as it can be.
    """

    def __init__(
        self, store: Store, *, holder: str = "", ahead: int = 0, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._store, self._ahead, self._seconds = store, ahead, lease_seconds
        self._holder = holder or f"{socket.gethostname()}-{os.getpid()}"
        self._held: dict[int, _Held] = {}
        self._complaints: dict[int, str] = {}
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set; then give the leases back. Waits for a database that does not answer."""
        keeper = threading.Thread(target=self._keep_leases, args=(stop,), name="leases", daemon=True)
        keeper.start()
        pause = RETRY_SECONDS[0]
        while not stop.is_set():
            try:
                busy = self.step()
            except ServerUnavailable as error:
                log.warning("database away, will try again", reason=str(error), pause=pause)
                stop.wait(pause)
                pause = min(2 * pause, RETRY_SECONDS[1])
                continue
            pause = RETRY_SECONDS[0]
            if not busy:
                stop.wait(POLL_SECONDS)
        keeper.join()
        try:
            self.close()
        except ServerUnavailable as error:
            log.warning("leases not given back, they run out", reason=str(error))

    def close(self) -> None:
        """Give all leases back."""
        with self._lock:
            held, self._held = dict(self._held), {}
        for item in held.values():
            item.close()
        for item in held.values():
            self._store.release_suggester(item.lease)

    def step(self) -> bool:
        """Look at every running experiment once; whether something was done. Raises ServerUnavailable."""
        waiting = self._store.searches_paused()
        active = [identity for identity in self._store.active_experiments() if identity not in waiting]
        with self._lock:
            kept = {*active, *waiting}
            gone = [self._held.pop(identity) for identity in list(self._held) if identity not in kept]
        for item in gone:
            item.close()
            self._store.release_suggester(item.lease)
        busy = False
        for identity in active:
            try:
                held = self._hold(identity)
                if held is not None:
                    busy |= self._serve(held)
            except (StaleLease, NotFound) as error:
                log.info("experiment left to another suggester", experiment=identity, reason=str(error))
                with self._lock:
                    lost = self._held.pop(identity, None)
                if lost is not None:
                    lost.close()
            except Conflict as error:
                log.info("experiment changed meanwhile", experiment=identity, reason=str(error))
            except ServerUnavailable:
                raise
            except Exception as error:  # noqa: BLE001
                # What is stored of one experiment may be of any shape: the others get their suggestions all the same.
                self._complain(identity, f"{type(error).__name__}: {error}")
        return busy

    def _complain(self, identity: int, reason: str) -> None:
        """Log why an experiment gets no suggestions, once for each reason."""
        if self._complaints.get(identity) != reason:
            self._complaints[identity] = reason
            log.error("no suggestions", experiment=identity, reason=reason)

    def _hold(self, identity: int) -> _Held | None:
        """The experiment if its lease is ours or can be had."""
        with self._lock:
            held = self._held.get(identity)
        if held is None:
            lease = self._store.lease_suggester(identity, self._holder, self._seconds)
            if lease is None:
                return None
            held = _Held(lease)
            with self._lock:
                self._held[identity] = held
            log.info("suggesting", experiment=identity)
        return held

    def _serve(self, held: _Held) -> bool:
        """Fill the queue of one experiment, or end it."""
        identity = held.lease.experiment
        view = self._store.experiment(identity)
        if view.spec_error is not None:
            self._complain(identity, f"its stored spec is not valid: {view.spec_error}")
            return False
        if view.revision == held.revision:
            return False
        wanted = self._wanted(view)
        if wanted <= 0:
            held.revision = view.revision
            return False
        records = self._store.records(identity)
        try:
            answer = self._ask(held, view, records, wanted)
        except Exception as error:  # noqa: BLE001
            lacking = environment_failure(error)
            if lacking is not None:
                held.drop()
                pause = self._store.pause("search", str(lacking), experiment=identity, claims=False)
                log.warning("search paused", experiment=identity, reason=str(lacking), pause=pause)
                return True
            if isinstance(error, SparsemodError):
                self._end(identity, ExperimentState.FAILED, str(error))
                return True
            # A family of the user's own may raise anything while it is screened: that ends its experiment and not the suggester.
            log.error("suggesting failed", experiment=identity, traceback=traceback.format_exc())
            self._end(identity, ExperimentState.FAILED, f"suggesting failed: {type(error).__name__}: {error}")
            return True
        if answer is None:
            return False
        reason, suggestions = answer
        if held.paused:
            self._store.unpause("search", experiment=identity)
            held.paused = False
        pending = any(not record.state.finished for record in records)
        if suggestions:
            indices = self._store.queue(held.lease, suggestions)
            live = sum(item.feasible for item in suggestions)
            log.info(
                "queued",
                experiment=identity,
                first=indices[0],
                trials=live,
                infeasible=len(suggestions) - live,
            )
            return True
        if pending:
            held.revision = view.revision
            return False
        self._end(identity, ExperimentState.DONE, reason or NO_MORE)
        return True

    def _wanted(self, view: ExperimentView) -> int:
        """How many trials the queue lacks; whole batches of the spec's size."""
        if view.spec.source.waits:
            pending = view.counts.get(TrialState.QUEUED, 0) + view.counts.get(TrialState.RUNNING, 0)
            return 0 if pending else view.spec.source.batch
        ahead = self._ahead
        if ahead == 0:
            ahead = max(
                1,
                sum(worker.slots for worker in self._store.workers() if worker.alive and not worker.draining),
            )
        lacking = ahead - view.counts.get(TrialState.QUEUED, 0)
        return max(lacking, view.spec.source.batch) if lacking > 0 else 0

    def _ask(
        self, held: _Held, view: ExperimentView, records: list[TrialRecord], wanted: int
    ) -> tuple[str | None, list[Any]] | None:
        """Why the search is over, or suggestions; None while a process of its own still works on them."""
        if held.search is None or held.spec != view.spec:
            held.close()
            own = runs_own_code(view.spec)
            held.search = SearchProcess(view.spec, build_search) if own else build_search(view.spec)
            held.spec = view.spec
        if isinstance(held.search, SearchProcess):
            if not held.search.busy:
                held.search.ask([observation(record) for record in records], wanted)
            return held.search.answer()
        observations = [observation(record) for record in records]
        reason = held.search.done(observations)
        return reason, ([] if reason is not None else held.search.next(observations, wanted))

    def _end(self, identity: int, state: ExperimentState, reason: str) -> None:
        self._store.finish_experiment(identity, state, reason)
        log.info("experiment over", experiment=identity, state=str(state), reason=reason)

    def _keep_leases(self, stop: threading.Event) -> None:
        """Renew the leases in the background: a suggestion may take longer than a lease."""
        while not stop.wait(self._seconds / 3):
            with self._lock:
                held = list(self._held.values())
            for item in held:
                try:
                    self._store.renew_suggester(item.lease, self._seconds)
                except Conflict:
                    with self._lock:
                        self._held.pop(item.lease.experiment, None)
                except ServerUnavailable:
                    break  # the main loop says so; the next turn tries again


def run_suggester(settings: Any, *, holder: str = "", ahead: int = 0) -> None:
    """The suggester as a process: SIGTERM and SIGINT end it between two steps."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = open_patiently(settings, stop.is_set)
    if store is None:
        return
    import torch

    # The workers want the cores; the models here are small.
    torch.set_num_threads(1)
    log.info("ready")
    Suggester(store, holder=holder, ahead=ahead).run(stop)
