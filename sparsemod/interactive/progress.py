"""The progress of a run: a bar in terminals and notebooks, else a line for each finished trial."""

import sys
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from sparsemod.objectives import Objectives
from sparsemod.pipeline import trial as pipeline_trial
from sparsemod.pipeline.journal import Finished
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.records import CurvePoint
from sparsemod.report.pareto import front
from sparsemod.units import METRICS


class NoProgress:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, index: int, suggestion: Any) -> pipeline_trial.Reporter | None:
        """Announce a started trial; return its reporter."""
        return None

    def finished(self, trial: Finished) -> None:
        """Announce a finished trial."""


def bar(local: LocalRun) -> NoProgress:
    """Return the progress display for `local` in this environment."""
    console = Console(highlight=False)
    if console.is_jupyter:
        return _Notebook(local, console)
    return _Terminal(local, console) if console.is_terminal else _Lines(local)


class _Lines(NoProgress):
    """Prints a line for each finished trial, and warnings on standard error."""

    def __init__(self, local: LocalRun) -> None:
        self._local = local

    def started(self, index: int, suggestion: Any) -> pipeline_trial.Reporter | None:
        """See NoProgress."""
        return _Reporter(lambda point: None)

    def finished(self, trial: Finished) -> None:
        """See NoProgress."""
        print(line(trial, self._local.problem.objectives), flush=True)


class _Bar(NoProgress):
    """A bar over the planned trials, with the current front and the epoch of the running trial."""

    def __init__(self, local: LocalRun, console: Console) -> None:
        self._local = local
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("trials"), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console, auto_refresh=False,
        )  # fmt: skip
        self._task = self._progress.add_task(
            local.spec.name, total=_planned(local), completed=self._counted(), note=self._front()
        )

    def started(self, index: int, suggestion: Any) -> pipeline_trial.Reporter | None:
        """See NoProgress."""

        def point(point: CurvePoint) -> None:
            words = f"trial {index}, epoch {point.epoch}/{suggestion.epochs}"
            self._update(note=", ".join(filter(None, (self._front(), words))))

        return _Reporter(point)

    def finished(self, trial: Finished) -> None:
        """See NoProgress."""
        self._update(completed=self._counted(), note=self._front())

    def _update(self, **fields: Any) -> None:
        self._progress.update(self._task, **fields)
        self._draw()

    def _draw(self) -> None:
        raise NotImplementedError

    def _counted(self) -> int:
        """Return the number of trials that count towards the planned ones."""
        counting = {part.name for part in self._local.spec.source.plan() if part.misses_count}
        return sum(
            trial.candidate.round in counting or not trial.observation().miss for trial in self._local.trials
        )

    def _front(self) -> str:
        objectives = self._local.problem.objectives
        best = front(objectives, [trial.record for trial in self._local.trials])
        if not best:
            return ""
        first = objectives.names[0]
        return f"{len(best)} on the front, {METRICS[first].title} from {METRICS[first].show(best[0].values()[first])}"


class _Terminal(_Bar):
    """The bar in a terminal, drawn by rich."""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _draw(self) -> None:
        self._progress.refresh()


class _Notebook(_Bar):
    """The bar in a cell's output. It needs no widgets: each update replaces the output, and the last one stays."""

    def __enter__(self) -> Self:
        from IPython.display import display

        self._handle = display(self._table(), display_id=True)  # type: ignore[no-untyped-call]
        return self

    def _draw(self) -> None:
        self._handle.update(self._table())

    def _table(self) -> Table:
        return self._progress.make_tasks_table(self._progress.tasks)


class _Reporter(pipeline_trial.Silent):
    """Follows the epochs of a trial; prints its warnings and errors."""

    def __init__(self, on_point: Any) -> None:
        self._on_point = on_point

    def point(self, point: CurvePoint) -> None:
        """See Reporter."""
        self._on_point(point)

    def log(self, message: str, level: str = "info") -> None:
        """See Reporter."""
        if level in ("warning", "error"):
            print(message, file=sys.stderr)


def _planned(local: LocalRun) -> int:
    return sum(part.trials for part in local.spec.source.plan())


def line(trial: Finished, objectives: Objectives) -> str:
    """Return a finished trial as a line: index, round, state, then its objectives or the failure."""
    values = trial.result.values()
    measured = [name for name in objectives.names if name in values]
    objectives_text = "  ".join(
        f"{METRICS[name].title} {METRICS[name].show(values[name])}" for name in measured
    )
    failure = trial.result.failure
    words = " ".join(failure.message.split()) if failure else objectives_text
    return f"trial {trial.index:>4}  {trial.candidate.round}  {trial.result.state:<10}  {words}"
