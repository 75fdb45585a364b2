"""`sparsemod demo`: an embedded service, one complete experiment, and its results as files."""

import contextlib
import fcntl
import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.cli.common import connect, console, duration, quiet_retries, require_folder
from service.cli.embedded import local_url, programs
from service.cli.picture import check_path, recorder, write_svg
from service.cli.results import write_files
from service.cli.view import front_table, line
from service.cli.watching import Watcher, follow
from service.processes.supervisor import Supervisor, require_free_port, wait_until_ready
from service.schemas.trials import ExperimentState
from sparsemod.errors import InvalidInput, SparsemodError
from sparsemod.spec.files import load

SPEC = Path(__file__).with_name("demo.yaml")
HOST = "127.0.0.1"
FOLDER = "sparsemod-demo"
"""Folder of a demo's data and results. While it is in use, the next demo takes `sparsemod-demo-2`, and so on."""


class DemoFailed(SparsemodError):
    """The demo's experiment did not finish, or its front is empty."""


def run_demo(
    directory: Path | None,
    port: int,
    workers: int,
    *,
    stay: bool,
    spec_file: Path = SPEC,
    record: Path | None = None,
) -> None:
    """Serve from `directory`, run the experiment of `spec_file`, print and write its front; with `stay`, keep
    serving until Ctrl-C.

    Each run creates a new experiment and stops those that an interrupted run left running. Without
    `directory`, use the first of FOLDER, FOLDER-2, ... that no other demo uses. With `record`, also write the
    output as an SVG to that path. Raises DemoFailed; InvalidInput for a folder that another demo uses, or a
    `record` that cannot be written.
    """
    if record is not None:
        check_path(record)
    with own_folder(directory) as folder:
        _run(folder, port, workers, stay, spec_file, record)


@contextlib.contextmanager
def own_folder(directory: Path | None) -> Iterator[Path]:
    """Lock a folder for this demo until the process ends:
    a running experiment in it then comes from an interrupted demo."""
    if directory is not None:
        folders: Iterator[Path] = iter([directory])
    else:
        folders = (Path(FOLDER if n == 1 else f"{FOLDER}-{n}") for n in itertools.count(1))
    for folder in folders:
        try:
            handle = (require_folder(folder, "--dir") / "demo.lock").open("w")
        except PermissionError as error:
            raise InvalidInput("--dir", str(folder), "a folder that can be written") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder
            return
    raise InvalidInput("--dir", str(directory), "a folder that no running demo uses")


def _run(directory: Path, port: int, workers: int, stay: bool, spec_file: Path, record: Path | None) -> None:
    output = console() if record is None else recorder()
    soft = record is None  # a picture has a fixed width
    url = local_url(HOST, require_free_port(HOST, port))
    spec = load(spec_file)
    logs = directory / "logs"
    supervisor = Supervisor(
        programs(HOST, int(url.rpartition(":")[2]), directory, "", workers, logs=logs, drain=2.0)
    )
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    quiet_retries()
    try:
        with console(stderr=True).status("starting the server, the suggester and the workers"):
            supervisor.start()
            wait_until_ready(url, supervisor)
        client = connect(url)
        for leftover in client.experiments():
            if leftover.state is ExperimentState.RUNNING:
                client.stop(leftover.id)
        experiment = client.create_experiment(spec)
        trials = sum(part.trials for part in experiment.rounds.values())
        plural = "worker" if workers == 1 else "workers"
        output.print(f"[bold]sparsemod[/]  {url}", highlight=False)
        output.print(f"experiment {experiment.id}: {trials} trials on {workers} {plural}, logs in {logs}\n")
        try:
            last = follow(Watcher(client, experiment.id), tend=supervisor.tend)
        except KeyboardInterrupt:
            client.stop(experiment.id)
            raise
        output.print(line(last), soft_wrap=soft)
        if last.state != "done" or not last.front:
            raise DemoFailed(
                f"experiment {experiment.id} is {last.state}: {last.reason or 'no reason given'}; logs in {logs}"
            )
        files = write_files(client, experiment.id, directory / "results" / f"experiment-{experiment.id}")
        output.print(front_table(last))
        output.print(
            f"{len(last.front)} int8 networks on the front, hypervolume {last.hypervolume:.4f}, "
            f"{duration(time.monotonic() - began)} in all",
            soft_wrap=soft,
        )
        for path in files.values():
            output.print(f"  {path}", soft_wrap=soft)
        if stay:
            output.print(f"\nThe dashboard stays at [bold]{url}[/] until Ctrl-C.", highlight=False)
        if record is not None:
            write_svg(output, record, "sparsemod demo")
        if stay:
            try:
                while True:
                    supervisor.tend()
                    time.sleep(0.2)
            except KeyboardInterrupt:
                return
    finally:
        supervisor.stop()


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
