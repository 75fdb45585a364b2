"""Follow an experiment over HTTP: snapshots for the view, a live screen in a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import stamina

from service.cli.common import console
from service.cli.view import Point, Progress, Running, Snapshot, line, render
from service.schemas.trials import ExperimentView, ParetoView, TrialView
from sparsemod.errors import ServerUnavailable
from sparsemod.records import TrialState

if TYPE_CHECKING:
    from service.client.client import Client

REFRESH_SECONDS = 1.0


class Watcher:
    """Takes snapshots of one experiment; requests the front only after further trials have completed."""

    def __init__(self, client: "Client", experiment: int) -> None:
        self._client, self._experiment = client, experiment
        self._finished = -1
        self._pareto: ParetoView | None = None

    def snapshot(self) -> Snapshot:
        """Return the current state of the experiment. Raises ServerUnavailable, NotFound."""
        client = self._client
        experiment = client.experiment(self._experiment)
        completed = experiment.counts.get(TrialState.COMPLETED, 0)
        if self._pareto is None or completed != self._finished:
            self._pareto, self._finished = client.pareto(self._experiment), completed
        running = client.trials_page(self._experiment, state="running", limit=50).items
        workers = [worker for worker in client.workers() if worker.alive]
        return build_snapshot(
            experiment, self._pareto, [self._running(trial) for trial in running], len(workers)
        )

    def _running(self, listed: TrialView) -> Running:
        trial = self._client.trial(self._experiment, listed.index)  # lists contain no attempts
        curve = self._client.curve(self._experiment, trial.index)
        attempt = trial.attempts[-1] if trial.attempts else None
        return Running(
            index=trial.index,
            round=trial.candidate.round,
            worker=attempt.worker if attempt else "-",
            epoch=curve[-1].epoch if curve else 0,
            epochs=trial.epochs,
            error=curve[-1].validation_error if curve else None,
            seconds=_age(attempt.started_at) if attempt else 0.0,
        )


def build_snapshot(
    experiment: ExperimentView,
    pareto: ParetoView,
    running: Iterable[Running] = (),
    workers: int | None = None,
) -> Snapshot:
    """Return the view's data from the server's answers."""
    rounds = [
        Progress(name, part.done, part.trials, part.title, part.planned)
        for name, part in experiment.rounds.items()
        if part.trials or any(part.counts.values())
    ]
    end = experiment.finished_at
    seconds = (end - experiment.created_at).total_seconds() if end else _age(experiment.created_at)
    points = [
        Point(
            point.index,
            point.values(),
            point.origin,
            point.lineage[0].index if point.lineage else None,
            point.lineage[0].operators if point.lineage else (),
        )
        for point in pareto.points
    ]
    return Snapshot(
        identity=experiment.id,
        name=experiment.name,
        state=str(experiment.state),
        reason=experiment.spec_trouble()
        or (f"paused: {experiment.paused}" if experiment.paused else experiment.reason),
        rounds=rounds,
        counts={str(state): count for state, count in experiment.counts.items()},
        objectives=pareto.objectives,
        budgets=pareto.budgets,
        limited=[name for name in experiment.spec.budgets if name not in pareto.objectives],
        front=points,
        nearest=pareto.nearest,
        hypervolume=pareto.hypervolume,
        history=[entry.hypervolume for entry in pareto.history],
        seconds=seconds,
        left=time_left(rounds, seconds, experiment.trials_per_minute),
        running=sorted(running, key=lambda item: item.index),
        workers=workers,
    )


def time_left(rounds: Iterable[Progress], seconds: float, rate: float | None = None) -> float | None:
    """Seconds until the rounds are complete, at `rate` trials a minute (None: the average rate so far).

    None before the first trial has finished.
    """
    parts = [part for part in rounds if part.planned]
    done = sum(part.done for part in parts)
    left = sum(max(0, part.total - part.done) for part in parts)
    if rate:
        return 60 * left / rate
    return seconds / done * left if done else None


def _age(moment: datetime) -> float:
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def follow(
    watcher: Watcher,
    *,
    tend: Callable[[], Any] = lambda: None,
    refresh: float = REFRESH_SECONDS,
    patience: float = 600.0,
) -> Snapshot:
    """Show the experiment until it ends; return the last snapshot. Call `tend` between updates.

    Wait up to `patience` seconds for an unavailable server, then raise ServerUnavailable.
    """
    last: Snapshot | None = None

    def away(error: Exception) -> bool:
        return isinstance(error, ServerUnavailable) and last is not None

    with _screen() as show:
        while True:
            for attempt in stamina.retry_context(
                on=away, attempts=None, timeout=patience, wait_initial=0.1, wait_max=refresh, wait_jitter=0.1
            ):
                tend()
                with attempt:
                    try:
                        snapshot = watcher.snapshot()
                    except ServerUnavailable as error:
                        if last is not None:
                            show(last, f"the server is unavailable ({error}); waiting for it")
                        raise
            last = snapshot
            show(snapshot, "")
            if snapshot.finished:
                return snapshot
            until = time.monotonic() + refresh
            while time.monotonic() < until:
                tend()
                time.sleep(min(0.1, refresh))


@contextlib.contextmanager
def _screen() -> Iterator[Callable[[Snapshot, str], None]]:
    """Yield a function that shows a snapshot and a note:
    in place in a terminal, elsewhere as a line after each change."""
    output = console()
    if output.is_terminal:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        with Live(console=output, auto_refresh=False, transient=True) as live:

            def draw(snapshot: Snapshot, note: str) -> None:
                picture = render(snapshot, height=output.height, width=output.width)
                live.update(Group(picture, Text(note, style="yellow")) if note else picture, refresh=True)

            yield draw
        return
    shown = ""

    def write(snapshot: Snapshot, note: str) -> None:
        nonlocal shown
        text = note or line(snapshot)
        # The age changes with every update; print a line only when something else changed.
        key = note or text[9:].rpartition("  ")[0] + snapshot.state
        if key != shown:
            shown = key
            print(text, flush=True)

    yield write
