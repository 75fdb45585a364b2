"""`sparsemod run` and `check`: commands for this machine, without a server."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    DeviceOption,
    ImportOption,
    ServerOption,
    complain,
    console,
    counted,
    duration,
    import_modules,
    metric_text,
)
from service.cli.earlier import FromOption, with_experiments
from service.cli.folders import local_folder

if TYPE_CHECKING:
    from sparsemod.pipeline.journal import Finished
    from sparsemod.pipeline.local_run import LocalRun
    from sparsemod.report.tensorboard import TensorBoardLog

TensorBoardOption = Annotated[
    bool,
    typer.Option(
        "--tensorboard", help="Write learning curves and results for TensorBoard, to FOLDER/tensorboard."
    ),
]
SpecArgument = Annotated[Path, typer.Argument(help="Spec file: .yaml, .json, .cfg or .ini.", metavar="SPEC")]


def run(
    spec: Annotated[
        Path,
        typer.Argument(
            help="Spec file: .yaml, .json, .cfg or .ini; or the folder of a run to continue.",
            metavar="SPEC",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of results; {time} in it is the time of the start. Default: runs/NAME. An interrupted run in it continues.",
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            help="For the folder of a run: keep only its first KEEP trials and continue after them. The others stay in trials.1.jsonl.",
            min=0,
        ),
    ] = None,
    earlier: FromOption = None,
    tensorboard: TensorBoardOption = False,
    device: DeviceOption = None,
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
) -> None:
    """Run an experiment on this machine, one trial after the other, without a server."""
    from sparsemod.errors import InvalidInput
    from sparsemod.spec.files import read_local
    from sparsemod.spec.plain import SpecFile

    import_modules(imports)
    stored_run = local_folder(str(spec)) if spec.is_dir() else None
    if stored_run is not None and out is not None and out.resolve() != spec.resolve():
        raise InvalidInput("--out", str(out), f"no value: the run in {spec} continues in its folder")
    if keep is not None:
        if stored_run is None:
            raise InvalidInput("--keep", keep, "only with the folder of a run")
        stored_run.keep(keep)
    if earlier and stored_run is not None:
        raise InvalidInput("--from", earlier[0], "no value: the run in this folder has its earlier trials")
    file = read_local(spec) if stored_run is None else SpecFile(stored_run.spec)
    if file.tests:
        from service.cli.testing import test

        test(str(spec), device=device)
        return
    if out is not None:
        out = Path(str(out).replace("{time}", time.strftime("%Y-%m-%dT%H-%M-%S")))
    folder = out or (file.root or Path("runs")) / file.spec.name.replace(" ", "-")
    folder = folder if stored_run is None else stored_run.folder
    with file.locating(), console(stderr=True).status("loading torch and the data"):
        one_thread()
        from sparsemod.pipeline.local_run import LocalRun
        from sparsemod.training.process import chosen_device

        started = with_experiments(file.spec, earlier, server)
        local = LocalRun(started, folder, device=chosen_device(device, file.device, "--device"))
    follow(local, file.debug, tensorboard=tensorboard)


def one_thread() -> None:
    """Limit this process to one thread: tiny networks train fastest so, and equal seeds give equal results."""
    from sparsemod.training.process import tune_process

    tune_process(1)


def follow(local: "LocalRun", debug: bool, *, tensorboard: bool = False) -> None:
    """Run with a live display in a terminal, or one line per trial elsewhere; then print the front.

    With `debug`, the traceback of each failed trial is printed to stderr; the search goes on. With `tensorboard`, the
    run's folder gets event files.
    """
    from rich.live import Live

    from service.cli.view import front_table, render
    from sparsemod.errors import EnvironmentFailure, SpaceEmpty
    from sparsemod.report.tensorboard import TensorBoardLog

    output = console()
    began = time.monotonic()
    follower = _Follower(local, began)
    if tensorboard:
        follower.log_to = TensorBoardLog(local.folder / "tensorboard")
    live: Live | None = None
    if output.is_terminal:
        live = Live(console=output, auto_refresh=False, transient=True)

    def draw() -> None:
        if live is not None:
            live.update(render(follower.snapshot(), height=output.height, width=output.width), refresh=True)

    def on_start(index: int, suggestion: Any) -> Any:
        follower.start(index, suggestion)
        draw()
        return follower

    def on_finished(trial: "Finished") -> None:
        failure = trial.result.failure
        if debug and failure is not None:
            typer.echo(trial.failure_text, err=True)
        follower.finish(trial)
        if live is None:
            print(trial_line(trial, local.spec.objectives), flush=True)

    follower.changed = draw
    try:
        if live is not None:
            live.start()
        outcome = local.run(on_finished, on_start)
    except KeyboardInterrupt:
        local.write()
        typer.echo(f"interrupted; the same command continues after {len(local.trials)} trials", err=True)
        raise
    except (EnvironmentFailure, SpaceEmpty) as error:
        # Not an error of the command: the run cannot continue.
        complain(str(error))
        raise typer.Exit(1) from error
    finally:
        follower.close()
        if live is not None:
            live.stop()
    if tensorboard:
        output.print(f"TensorBoard: tensorboard --logdir {local.folder / 'tensorboard'}", soft_wrap=True)
    snapshot = follower.snapshot("done", outcome.reason)
    if snapshot.front:
        output.print(front_table(snapshot))
    if local.spec.source.name == "grid":
        from service.cli.summary import print_summary

        print_summary(output, outcome.rows, local.spec.objectives)
    output.print(
        f"{outcome.reason}; {counted(len(snapshot.front), 'point')} on the front, hypervolume {snapshot.hypervolume:.4f}"
    )
    output.print(
        f"{counted(len(outcome.rows), 'trial')} in {duration(time.monotonic() - began)}; results in {local.folder}"
    )
    failures = [trial.result.failure for trial in local.trials if trial.result.failure is not None]
    if failures and not snapshot.counts.get("completed"):
        complain(f"no trial completed; the last failure: {failures[-1].message}; --debug shows the traceback")
        raise typer.Exit(1)


def trial_line(trial: "Finished", objectives: tuple[str, ...]) -> str:
    """Return a finished trial in one line."""
    result = trial.result
    values = result.values()
    objectives_text = "  ".join(
        f"{name} {metric_text(name, values[name])}" for name in objectives if name in values
    )
    words = " ".join(result.failure.message.split()) if result.failure else objectives_text
    if trial.stopping is not None:
        words = f"{words}  {trial.stopping.text}"
    return f"trial {trial.index:>4}  {trial.candidate.round}  {result.state:<10} {duration(trial.record.total_seconds):>8}  {words}"


class _Follower:
    """Collects a local run's data for the view, and is the reporter of its trials."""

    def __init__(self, local: "LocalRun", began: float) -> None:
        self._local, self._began = local, began
        self._running: Any = None
        self.changed: Any = lambda: None
        self.log_to: TensorBoardLog | None = None

    def start(self, index: int, suggestion: Any) -> None:
        """Record the start of a trial."""
        from service.cli.view import Running

        trial = Running(index, suggestion.candidate.round, "here", 0, suggestion.epochs, None, 0.0)
        self._running = (time.monotonic(), trial)
        if self.log_to is not None:
            self.log_to.start(index, suggestion.candidate)

    def finish(self, trial: "Finished") -> None:
        """Record the end of the running trial."""
        self._running = None
        if self.log_to is not None:
            self.log_to.finish(trial.record)

    def close(self) -> None:
        """End what the running trial has written."""
        if self.log_to is not None:
            self.log_to.close()

    def point(self, point: Any) -> None:
        """Record a completed epoch."""
        from dataclasses import replace

        if self.log_to is not None:
            self.log_to.point(point)

        if self._running is not None:
            began, item = self._running
            seconds = time.monotonic() - began
            self._running = (
                began,
                replace(item, epoch=point.epoch, error=point.validation_error, seconds=seconds),
            )
        self.changed()

    def stage(self, name: str) -> None:
        """Show nothing: stages other than training take milliseconds."""

    def log(self, message: str, level: str = "info") -> None:
        """Print warnings and errors to stderr; the results contain the rest."""
        if level in ("warning", "error"):
            print(message, file=sys.stderr)

    def checkpoint(self, data: bytes) -> None:
        """Store nothing: the run keeps the checkpoints itself."""

    def should_stop(self) -> bool:
        """Return False: a local run never asks a trial to stop."""
        return False

    def snapshot(self, state: str = "running", reason: str | None = None) -> Any:
        """Return the current state of the run."""
        from collections import Counter

        from service.cli.view import Point, Progress, Snapshot
        from service.cli.watching import time_left
        from sparsemod.report.pareto import front, pareto_front

        local = self._local
        spec = local.spec
        misses = {trial.index for trial in local.trials if trial.observation().miss}
        rounds = [
            Progress(
                part.name,
                sum(
                    t.candidate.round == part.name and (part.misses_count or t.index not in misses)
                    for t in local.trials
                ),
                part.trials,
                part.title,
            )
            for part in spec.source.plan()
            if part.trials
        ]
        objectives = local.problem.objectives
        rows = [trial.record for trial in local.trials]
        results = pareto_front(spec.name, objectives, rows)
        seconds = time.monotonic() - self._began
        points = [
            Point(
                row.index, row.values(), row.candidate.origin, row.candidate.parent, row.candidate.operators
            )
            for row in front(objectives, rows)
        ]
        return Snapshot(
            identity=None,
            name=spec.name,
            state=state,
            reason=reason,
            rounds=rounds,
            counts=Counter(str(row.state) for row in rows),
            objectives=spec.objectives,
            budgets=spec.all_budgets(),
            limited=[name for name in spec.budgets if name not in spec.objectives],
            front=points,
            nearest=results.nearest,
            hypervolume=results.hypervolume,
            history=[point.hypervolume for point in results.history],
            seconds=seconds,
            left=time_left(rounds, seconds),
            running=[] if self._running is None else [self._running[1]],
        )


def check(
    spec: SpecArgument,
    candidates: Annotated[
        int, typer.Option(help="Number of networks to build, train on one batch and quantize.", min=1)
    ] = 3,
    imports: ImportOption = None,
) -> None:
    """Dry-run a spec: build, capture, measure and train a few candidates on one batch, and report problems."""
    from rich.text import Text

    from sparsemod.spec.files import read_local

    import_modules(imports)
    file = read_local(spec)
    output = console()
    with console(stderr=True).status("trying a few candidates"):
        one_thread()
        from sparsemod.pipeline.dry_run import check as dry_run

        report = dry_run(file.spec, candidates=candidates, located=file.located)
    marks = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "bold red")}
    for finding in report.findings:
        mark, style = marks[finding.level]
        line = Text(f"{mark} ", style=style)
        line.append(f"{finding.subject:<8} ", style="default not bold dim")
        line.append(finding.message, style="default not bold")
        output.print(line, soft_wrap=True)
    if not report.ok:
        raise typer.Exit(2)


COMMANDS = {"run": run, "check": check}
