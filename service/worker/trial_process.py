"""Processes in which trials are evaluated: a nursery that has torch loaded, and the children that it forks.

    worker (no torch)  --control socket-->  nursery (torch loaded, never trains)  --fork-->  one child per attempt

Loading torch takes seconds, a fork of a process that has it takes milliseconds. The nursery touches no accelerator, so that a child may,
and loads a dataset only once a child has come through with it. A child speaks JSON lines over a socket of its own with the worker:

    worker to child: {"kind": "job", ...} first, then perhaps {"kind": "stop"}
    child to worker: point, log, checkpoint (a file), stage, and at last result, invalid, fault or environment

This module imports nothing heavy: the worker uses its message functions too.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from service.processes.supervised import die_with_parent, outlive_parent
from sparsemod.errors import BuildError, EnvironmentFailure, InvalidCandidate, Unsupported

Message = dict[str, Any]

PRELOADED = ("torch", "sparsemod.pipeline.trial", "sparsemod.data")
"""What the nursery imports before it forks."""

CHECKPOINT_SECONDS = 10.0
"""A checkpoint is passed on at most this often; what a killed trial loses is about that much."""


class Channel:
    """JSON lines over a stream socket; sending is safe from several threads, receiving from one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        self._lock = threading.Lock()
        self.closed = False

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Write one message; raises OSError when the other side is gone."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> list[Message]:
        """The complete messages that have arrived; waits for the first bytes. `closed` is set at the end of the stream."""
        try:
            data = self._socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def messages(self) -> Iterator[Message]:
        """Every message until the stream ends."""
        while not self.closed:
            yield from self.receive()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def resolve(reference: str) -> Callable[..., Any]:
    """The attribute that "module:attribute" names."""
    module, _, attribute = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


class ChannelReporter:
    """What `sparsemod.pipeline.trial.evaluate` reports to inside a child: everything goes over the channel."""

    def __init__(self, channel: Channel, workdir: Path) -> None:
        self._channel, self._workdir = channel, workdir
        self._stop = threading.Event()
        self._checkpoints = 0
        self._newest: bytes | None = None
        self._passed_on = time.monotonic()

    def point(self, point: Any) -> None:
        """One epoch of the learning curve."""
        self._channel.send({"kind": "point", "point": point.model_dump(mode="json")})

    def log(self, message: str, level: str = "info") -> None:
        """One line for the trial's log."""
        self._channel.send({"kind": "log", "time": time.time(), "level": level, "message": message})

    def stage(self, name: str) -> None:
        """The pipeline has entered the stage `name`."""
        self._channel.send({"kind": "stage", "stage": name})

    def checkpoint(self, data: bytes) -> None:
        """Remember `data`, from which a retry of this trial goes on; passed on every few seconds, and by `flush`."""
        self._newest = data
        if time.monotonic() - self._passed_on >= CHECKPOINT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Pass the newest checkpoint on, unless that was done."""
        if self._newest is None:
            return
        self._checkpoints += 1
        path = self._workdir / f"checkpoint-{self._checkpoints}"
        path.write_bytes(self._newest)
        self._newest, self._passed_on = None, time.monotonic()
        self._channel.send({"kind": "checkpoint", "path": str(path)})

    def should_stop(self) -> bool:
        """Whether the worker has asked for an early end."""
        return self._stop.is_set()

    def obey(self) -> None:
        """Read the worker's messages until it is gone, which ends this process: nobody could use its result."""
        for message in self._channel.messages():
            if message["kind"] == "stop":
                self._stop.set()
        os._exit(3)


def evaluate_job(job: Message, reporter: ChannelReporter) -> Message:
    """Evaluate the trial that `job` describes with `sparsemod.pipeline.trial.evaluate`; returns the result as JSON data."""
    from sparsemod.data import load
    from sparsemod.pipeline.environment import environment_failure
    from sparsemod.pipeline.problem import Problem
    from sparsemod.pipeline.trial import ParentWeights, evaluate
    from sparsemod.records import Candidate, TrialState
    from sparsemod.spec.experiment import ExperimentSpec

    spec = ExperimentSpec.stored(job["spec"])
    try:
        data = load(spec.dataset)  # from the nursery's cache, as a rule
        Problem.of(spec, data.info)
    except Exception as error:
        # No candidate has a part in it: the same spec was accepted elsewhere, so that it is this machine which lacks something.
        lacking = environment_failure(error) or EnvironmentFailure(str(error) or type(error).__name__)
        raise lacking from error
    parent = None
    if job.get("parent"):
        parent = ParentWeights(
            parameters=job["parent"]["parameters"],
            state=Path(job["parent"]["weights"]).read_bytes(),
            epochs=job["parent"]["epochs"],
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
    return {"result": result.model_dump(mode="json")}


def probe_accelerator(job: Message, reporter: ChannelReporter) -> Message:
    """What accelerator torch sees in this process: its name and memory in bytes, or why there is none."""
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        return {"name": None, "reason": "no CUDA device is visible" if built else "this torch has no CUDA"}
    properties = torch.cuda.get_device_properties(0)
    return {"name": properties.name, "memory": properties.total_memory}


def run_child(channel: Channel) -> NoReturn:
    """Serve one job and end the process. A network that cannot be built, and what the machine lacks, are told apart from other failures."""
    faulthandler.enable()
    message = next(channel.messages(), None)
    if message is None:
        os._exit(3)
    workdir = Path(message.get("workdir", "."))
    _keep_temporary_files_in(workdir)
    reporter = ChannelReporter(channel, workdir)
    threading.Thread(target=reporter.obey, name="obey", daemon=True).start()
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
        # The boundary of the process: whatever a user's module raises becomes this attempt's failure, with its traceback in the log.
        traceback.print_exc()
        channel.send({"kind": "fault", "message": f"{type(error).__name__}: {error}"})
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _keep_temporary_files_in(workdir: Path) -> None:
    """What this process and the programs that it starts write for a moment lies in the attempt's folder, which goes even after a kill."""
    place = workdir.absolute() / "tmp"
    with contextlib.suppress(OSError):  # no space: whatever needs a file will say so
        place.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(place)


class NurseryLoop:
    """The nursery's own loop: forks on request, reaps, kills, loads datasets."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._channel = Channel(control)
        self._children: dict[int, str] = {}  # process id -> job name
        self._buffer = b""

    def run(self) -> None:
        """Serve until the worker closes the control socket; then end the children."""
        wake_in, wake_out = os.pipe()
        os.set_blocking(wake_out, False)
        signal.set_wakeup_fd(wake_out)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Ctrl-C reaches the whole process group; when to end is the worker's decision.
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
                # One request carries exactly the two descriptors that came with it: the worker waits for each answer.
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
            os.setpgid(0, 0)  # what it starts ends with it
            with contextlib.suppress(OSError):  # no such file outside Linux's own /proc
                # Where memory runs out, the kernel is to take a trial and not the worker, or the server beside it.
                Path("/proc/self/oom_score_adj").write_text("500")
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
        with contextlib.suppress(OSError):  # it was faster, or has ended
            os.setpgid(pid, pid)
        self._children[pid] = job
        self._channel.send({"kind": "forked", "job": job, "pid": pid})

    def _reap(self) -> None:
        while self._children:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            # Before its number is free for another: processes that it started hold its output and channel open.
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
            data = load(ExperimentSpec.stored(spec).dataset)
            for split in (data.train, data.validation):
                split.tensors()
        except Exception:  # noqa: BLE001
            # A user's loader may do anything. Without the warm copy each child loads for itself, and reports what goes wrong there.
            traceback.print_exc()
        gc.freeze()


def _kill_group(pid: int) -> None:
    """SIGKILL for a child and for what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def warm_up() -> None:
    """Have torch load what it loads only on first use (the exporter, the optimizers): seconds that each child would spend anew.

    No gradient is computed: autograd refuses to work in a process that was forked after its parent had done so.
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
    """Entry of the nursery process, started by the worker (`service.worker.fork_server.Nursery`)."""
    parser = argparse.ArgumentParser(prog="python -m service.worker.trial_process", description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the control socket")
    parser.add_argument("--threads", type=int, default=1, help="threads of one child")
    parser.add_argument("--preload", nargs="*", default=list(PRELOADED), help="modules to import")
    options = parser.parse_args(arguments)
    control = socket.socket(fileno=options.control)
    # While modules load, nobody reads the control socket, whose end tells of the worker's death later on.
    die_with_parent(os.getppid())
    for module in options.preload:
        importlib.import_module(module)
    if "torch" in sys.modules:
        # Not imported at the top: without torch (tests of the process alone) there is nothing to tune.
        importlib.import_module("sparsemod.training.process").tune_process(options.threads)
    if "sparsemod.pipeline.trial" in options.preload:
        warm_up()
    gc.collect()
    gc.freeze()
    outlive_parent()
    NurseryLoop(control).run()


if __name__ == "__main__":
    main()
