"""Processes that evaluate trials: a fork server that has loaded torch, and the children that it forks.

    worker (no torch)  --control socket-->  fork server (torch loaded, never trains)  --fork-->  one child per attempt

Loading torch takes seconds. Forking a process that has loaded it takes milliseconds. The fork server does
not use the accelerator, so its children can. It loads a dataset only after a child has finished a trial with
it. Child and worker exchange JSON lines over a socket:

    worker to child: {"kind": "job", ...} first, then optionally {"kind": "stop"}
    child to worker: point, log, checkpoint (a file), stage, and finally result, invalid, fault or environment

This module imports nothing heavy, because the worker uses its message functions too.
"""

import argparse
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from service.processes.supervised import die_first, die_with_parent, outlive_parent
from service.processes.task_child import resolve
from service.worker.channel import Channel, Message
from sparsemod.errors import BuildError, EnvironmentFailure, InvalidCandidate, Unsupported

PRELOADED = ("torch", "sparsemod.pipeline.trial", "sparsemod.data")
"""Modules that the fork server imports before it forks."""

CHECKPOINT_SECONDS = 10.0
"""Minimum time between two checkpoints sent to the worker. A killed trial loses about this much training."""


class ChannelReporter:
    """Reporter for `sparsemod.pipeline.trial.evaluate` in a child. It sends everything over the channel."""

    def __init__(self, channel: Channel, workdir: Path) -> None:
        self._channel, self._workdir = channel, workdir
        self._stop = threading.Event()
        self._checkpoints = 0
        self._newest: bytes | None = None
        self._passed_on = time.monotonic()

    def point(self, point: Any) -> None:
        """Send one epoch of the learning curve."""
        self._channel.send({"kind": "point", "point": point.model_dump(mode="json")})

    def log(self, message: str, level: str = "info") -> None:
        """Send one line for the trial's log."""
        self._channel.send({"kind": "log", "time": time.time(), "level": level, "message": message})

    def stage(self, name: str) -> None:
        """Report that the pipeline has entered the stage `name`."""
        self._channel.send({"kind": "stage", "stage": name})

    def checkpoint(self, data: bytes) -> None:
        """Keep `data`, from which a retry of this trial resumes.

        Send it every few seconds and in `flush`.
        """
        self._newest = data
        if time.monotonic() - self._passed_on >= CHECKPOINT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the newest checkpoint unless it was sent already."""
        if self._newest is None:
            return
        self._checkpoints += 1
        path = self._workdir / f"checkpoint-{self._checkpoints}"
        path.write_bytes(self._newest)
        self._newest, self._passed_on = None, time.monotonic()
        self._channel.send({"kind": "checkpoint", "path": str(path)})

    def should_stop(self) -> bool:
        """Return whether the worker has requested an early end."""
        return self._stop.is_set()

    def listen(self) -> None:
        """Read the worker's messages.

        End this process when the worker is gone, because nothing could receive the result.
        """
        for message in self._channel.messages():
            if message["kind"] == "stop":
                self._stop.set()
        os._exit(3)


def evaluate_job(job: Message, reporter: ChannelReporter) -> Message:
    """Evaluate the trial that `job` describes with `sparsemod.pipeline.trial.evaluate` and return the result
    without its curve as JSON data.

    Raises EnvironmentFailure when the spec or its data cannot be loaded on this machine.
    """
    from sparsemod.data import load
    from sparsemod.importing.places import FOLDERS_VARIABLE
    from sparsemod.pipeline.environment import environment_failure
    from sparsemod.pipeline.problem import Problem
    from sparsemod.pipeline.trial import ParentWeights, evaluate
    from sparsemod.records import Candidate, TrialState
    from sparsemod.spec.experiment import ExperimentSpec

    if "models" in job:
        os.environ[FOLDERS_VARIABLE] = job["models"]  # this process evaluates this job alone
    spec = ExperimentSpec.stored(job["spec"])
    try:
        data = load(spec.dataset, targets=spec.task.targets)  # usually from the fork server's cache
        Problem.of(spec, data.info)
    except Exception as error:
        # The candidate is not involved and the server accepted the same spec, so the cause is this machine.
        failure = environment_failure(error) or EnvironmentFailure(str(error) or type(error).__name__)
        raise failure from error
    parent = None
    if job.get("parent"):
        parent = ParentWeights(
            parameters=job["parent"]["parameters"],
            state=Path(job["parent"]["weights"]).read_bytes(),
            epochs=job["parent"]["epochs"],
            rewind=next((Path(path).read_bytes() for path in job["parent"].get("rewind", ())), None),
        )
    result = evaluate(
        spec,
        Candidate.model_validate(job["candidate"]),
        epochs=job["epochs"],
        seed=job["seed"],
        data=data,
        device=job["device"],
        parent=parent,
        reporter=reporter,
        workdir=Path(job["workdir"]),
        resume=Path(job["checkpoint"]).read_bytes() if job.get("checkpoint") else None,
    )
    if result.state is TrialState.STOPPED:
        reporter.flush()
    # The reporter has sent every point of the curve.
    return {"result": result.model_dump(mode="json", exclude={"curve"})}


def probe_accelerator(job: Message, reporter: ChannelReporter) -> Message:
    """Return name and memory (bytes) of the accelerator that torch sees in this process, or the reason why
    none is available."""
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        return {"name": None, "reason": "no CUDA device is visible" if built else "this torch has no CUDA"}
    properties = torch.cuda.get_device_properties(0)
    return {"name": properties.name, "memory": properties.total_memory}


def run_child(channel: Channel) -> NoReturn:
    """Run one job and end the process.

    The last message is a result, "invalid" for a network that cannot be built, "environment" for a failure
    of the machine, or "fault" for any other failure.
    """
    faulthandler.enable()
    message = next(channel.messages(), None)
    if message is None:
        os._exit(3)
    workdir = Path(message.get("workdir", "."))
    _keep_temporary_files_in(workdir)
    reporter = ChannelReporter(channel, workdir)
    threading.Thread(target=reporter.listen, name="listen", daemon=True).start()
    started = time.perf_counter()
    code = 0
    try:
        answer = resolve(message["evaluate"])(message, reporter)
        channel.send({"kind": "result", "seconds": time.perf_counter() - started, **answer})
    except (BuildError, Unsupported, InvalidCandidate) as error:
        channel.send({"kind": "invalid", "type": type(error).__name__, "message": str(error)})
    except EnvironmentFailure as error:
        channel.send({"kind": "environment", "whole": error.whole, "message": str(error)})
    except MemoryError:
        traceback.print_exc()
        channel.send({"kind": "fault", "message": "out of memory in Python (MemoryError)"})
        code = 1
    except Exception as error:  # noqa: BLE001
        # Process boundary: any exception of a user's module becomes this attempt's failure. The log gets its
        # traceback.
        traceback.print_exc()
        channel.send({"kind": "fault", "message": f"{type(error).__name__}: {error}"})
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _keep_temporary_files_in(workdir: Path) -> None:
    """Put temporary files of this process and its subprocesses in the attempt's folder, which is removed
    even after a kill."""
    place = workdir.absolute() / "tmp"
    with contextlib.suppress(OSError):  # disk full: the code that needs a file reports it
        place.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(place)


class ForkServerLoop:
    """The fork server's loop: it forks on request, reaps, kills and loads datasets."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._channel = Channel(control)
        self._children: dict[int, str] = {}  # process id -> job name
        self._buffer = b""

    def run(self) -> None:
        """Serve until the worker closes the control socket, then kill the children."""
        wake_in, wake_out = os.pipe()
        os.set_blocking(wake_out, False)
        signal.set_wakeup_fd(wake_out)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Ctrl-C reaches the whole process group. The worker decides when to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(wake_in, selectors.EVENT_READ)
        self._channel.send({"kind": "ready", "pid": os.getpid()})
        while True:
            for key, _ in selector.select():
                if key.fd == wake_in:
                    os.read(wake_in, 4096)
                    self._reap()
                elif not self._serve():
                    for pid in self._children:
                        _kill_group(pid)
                    return

    def _serve(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 8)
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["kind"] == "fork":
                # The worker waits for each answer, so the two received descriptors belong to this request.
                self._fork(message["job"], descriptors)
            elif message["kind"] == "kill":
                for pid, job in self._children.items():
                    if job == message["job"]:
                        _kill_group(pid)
            elif message["kind"] == "dataset":
                self._keep_dataset(message["spec"])
        return True

    def _fork(self, job: str, descriptors: list[int]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            die_with_parent(parent)
            os.setpgid(0, 0)  # its subprocesses end with it
            die_first()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            sock, output = descriptors
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            run_child(Channel(socket.socket(fileno=sock)))
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(OSError):  # the child called setpgid first, or has ended
            os.setpgid(pid, pid)
        self._children[pid] = job
        self._channel.send({"kind": "forked", "job": job, "pid": pid})

    def _reap(self) -> None:
        while self._children:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            # Before its pid can be reused: its subprocesses keep its output and channel open.
            _kill_group(ended.si_pid)
            pid, status = os.waitpid(ended.si_pid, 0)
            job = self._children.pop(pid, None)
            if job is not None:
                code = os.waitstatus_to_exitcode(status)
                self._channel.send({"kind": "exited", "job": job, "code": code})

    def _keep_dataset(self, spec: Message) -> None:
        from sparsemod.data import load
        from sparsemod.spec.experiment import ExperimentSpec

        try:
            stored = ExperimentSpec.stored(spec)
            data = load(stored.dataset, targets=stored.task.targets)
            for split in (data.train, data.validation):
                split.tensors()
        except Exception:  # noqa: BLE001
            # A user's loader may raise anything. Without the preloaded dataset each child loads it and
            # reports the error.
            traceback.print_exc()
        gc.freeze()


def _kill_group(pid: int) -> None:
    """Kill a child and its subprocesses."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def warm_up() -> None:
    """Make torch load its lazy parts (exporter, optimizers), which would cost each child seconds.

    Compute no gradient: autograd refuses to work in a child whose parent has used it before the fork.
    """
    import torch

    from sparsemod.graph import capture, deployed

    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.Flatten()
    )
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        module(torch.zeros(2, 1, 4, 4))
    deployed(capture(module.eval(), (1, 4, 4)))
    torch.optim.Adam(module.parameters())


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the fork server process, started by `service.worker.fork_server.ForkServer`."""
    parser = argparse.ArgumentParser(prog="python -m service.worker.trial_process", description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the control socket")
    parser.add_argument("--threads", type=int, default=1, help="threads of one child")
    parser.add_argument("--preload", nargs="*", default=list(PRELOADED), help="modules to import")
    options = parser.parse_args(arguments)
    control = socket.socket(fileno=options.control)
    # While modules load, the control socket is not read, so its end cannot signal the worker's death.
    die_with_parent(os.getppid())
    for module in options.preload:
        importlib.import_module(module)
    if "torch" in sys.modules:
        # Imported here because without torch (tests of the process alone) there is nothing to tune.
        importlib.import_module("sparsemod.training.process").tune_process(options.threads)
    if "sparsemod.pipeline.trial" in options.preload:
        warm_up()
    gc.collect()
    gc.freeze()
    outlive_parent()
    ForkServerLoop(control).run()


if __name__ == "__main__":
    main()
