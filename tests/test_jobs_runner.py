"""The one runner of tasks in a child process: every kind of task, its limits, its errors, its end."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_export import Wide, quantized
from support_kill import until
from support_specs import small

from service.processes.memory import resident_bytes
from service.processes.task_process import TaskDied, TaskFailed, TaskOverLimit, TaskProcess
from sparsemod.data import declared
from sparsemod.pipeline.problem import Problem
from sparsemod.records import Candidate, FailureKind, TrialState
from sparsemod.sources.observation import Observation, observations_from_plain, observations_to_plain
from sparsemod.spec.experiment import ExperimentSpec

TASKS = """
import os, signal, sys, time
from sparsemod.errors import InvalidInput

def echo(task):
    print("printed")
    os.system("echo printed by another program")
    return {"task": task, "pid": os.getpid()}

def die(task):
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def leave(task):
    sys.exit(3)

def refuse(task):
    raise InvalidInput("field", task, "something else")

def fault(task):
    return {}[task]

def sleep(task):
    time.sleep(600)

def swell(task):
    kept = bytearray(task)
    time.sleep(600)

def half(task):
    os.write(3, b'{"result"')
    os._exit(0)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of tasks that a child can import."""
    (tmp_path / "runner_tasks.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return "runner_tasks"


@pytest.fixture
def process() -> Iterator[TaskProcess]:
    made = TaskProcess("the task", seconds=200, setting="task_seconds")
    yield made
    made.close()
    made.end()


def trials(spec: ExperimentSpec, count: int) -> list[Observation]:
    info = declared("digits")
    assert info is not None
    space = Problem.of(spec, info).space
    rng = np.random.default_rng(3)
    states = (TrialState.COMPLETED, TrialState.RUNNING, TrialState.INFEASIBLE, TrialState.FAILED)
    return [
        Observation(
            index,
            Candidate(parameters=space.sample(rng), origin="sobol", round="r1"),
            states[index % 4],
            {"error": 0.1 + index / 100, "model_size": 900.0 + index} if index % 4 in (0, 2) else None,
            2.5,
            FailureKind.FAULT if index % 4 == 3 else None,
            index % 4 == 0,
        )
        for index in range(count)
    ]


@pytest.mark.long
def test_one_process_runs_every_kind_of_task(process: TaskProcess, tmp_path: Path) -> None:
    spec = ExperimentSpec.parse(small("runner", (4, 4, 2)))
    observations = trials(spec, 8)
    experiment = {"spec": spec.to_dict(), "trials": observations_to_plain(observations)}
    parameters = observations[0].candidate.parameters
    graph = process.run(
        "service.jobs.experiment_tasks:graph", {"spec": spec.to_dict(), "parameters": parameters}
    )
    assert graph["layers"][-1]["shape"] == [10] and graph["macs"] > 0
    importance = process.run("service.jobs.experiment_tasks:importance", experiment)
    assert importance["trials"] == 2 and "at least" in importance["reason"]
    snapshot = json.loads(process.run("service.jobs.experiment_tasks:ax_snapshot", experiment))
    assert len(snapshot["experiment"]["trials"]) == 8
    network = tmp_path / "network"
    network.write_bytes(quantized(lambda: Wide(4)).to_bytes())
    task = {
        "spec": spec.to_dict(), "formats": ["onnx"], "device": "stm32f446", "name": "tiny", "index": 0, "network": str(network),
        "parameters": parameters, "measurements": [], "folder": str(tmp_path / "made"),
    }  # fmt: skip
    (tmp_path / "made").mkdir()
    files = process.run("service.jobs.export_task:export", task)
    assert {kind for kind, _, _ in files} == {"card", "verification.onnx", "export.onnx"}
    assert all((tmp_path / "made" / path).stat().st_size for _, _, path in files)
    for function in ("experiment_tasks:importance", "experiment_tasks:ax_snapshot", "export_task:export"):
        with pytest.raises(TaskFailed, match=r"^dataset = None: is missing$"):
            process.run(f"service.jobs.{function}", {"spec": {}})


def test_observations_reach_a_task_unchanged() -> None:
    observations = trials(ExperimentSpec.parse(small("runner", (4, 4, 2))), 8)
    assert (
        observations_from_plain(json.loads(json.dumps(observations_to_plain(observations)))) == observations
    )


def test_errors_are_answers_and_the_process_goes_on(process: TaskProcess, own: str) -> None:
    first = process.run(f"{own}:echo", {"text": "é\n"})
    assert first["task"] == {"text": "é\n"} and first["pid"] != os.getpid()
    for function, message in (
        ("refuse", r"^field = 'x': something else$"),
        ("fault", r"^KeyError: 'x' \(runner_tasks.py, line \d+\)$"),
        ("leave", r"^SystemExit: 3 \(runner_tasks.py, line \d+\)$"),
        ("missing", r"AttributeError.*missing"),
    ):
        with pytest.raises(TaskFailed, match=message):
            process.run(f"{own}:{function}", "x")
    assert process.run(f"{own}:echo", 1) == {"task": 1, "pid": first["pid"]}


def test_a_child_that_dies_says_why_and_the_next_task_gets_another(process: TaskProcess, own: str) -> None:
    first = process.run(f"{own}:echo", None)["pid"]
    with pytest.raises(TaskDied, match=r"^the task ended early: last words$"):
        process.run(f"{own}:die", None)
    second = process.run(f"{own}:echo", None)["pid"]
    assert second != first
    with pytest.raises(TaskDied, match=r"^the task ended early: status 0$"):
        process.run(f"{own}:half", None)
    # Killed between two tasks, as by a lost lease.
    third = process.run(f"{own}:echo", None)["pid"]
    child = process._child
    assert child is not None and child.pid == third and resident_bytes(third) > 0
    process.kill()
    until(lambda: child.poll() is not None, 60, "the end of the child")
    assert resident_bytes(third) == 0
    assert process.run(f"{own}:echo", None)["pid"] != third


@pytest.mark.parametrize(
    ("limits", "function", "task", "message"),
    [
        ({"seconds": 0.3}, "sleep", None, "^the task took more than task_seconds = 0.3 s$"),
        (
            {"memory": 200_000_000, "seconds": 200},
            "swell",
            300_000_000,
            r"^the task used \d+ MB of memory; 200 MB are allowed$",
        ),
    ],
)
def test_a_task_over_its_limit_is_killed(
    own: str, limits: dict[str, Any], function: str, task: Any, message: str
) -> None:
    process = TaskProcess("the task", setting="task_seconds", **limits)
    try:
        with pytest.raises(TaskOverLimit, match=message):
            process.run(f"{own}:{function}", task)
        assert process._child is None
    finally:
        process.end()


def full_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_closed_process_takes_no_task_and_a_program_that_is_missing_is_an_error(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = TaskProcess("the task", seconds=200, setting="task_seconds")
    with monkeypatch.context() as changed:
        changed.setattr("service.processes.task_process.sys.executable", "/no/such/python")
        with pytest.raises(TaskDied, match=r"the task cannot start its process: .*No such file"):
            process.run(f"{own}:echo", None)
    with monkeypatch.context() as changed:
        changed.setattr("service.processes.task_process.tempfile.TemporaryFile", full_disk)
        with pytest.raises(TaskDied, match=r"the task cannot start its process: .*No space left"):
            process.run(f"{own}:echo", None)
    assert process.run(f"{own}:echo", 2)["task"] == 2
    process.close()
    with pytest.raises(TaskDied):
        process.run(f"{own}:echo", None)
    with pytest.raises(TaskDied, match="the server is ending"):
        process.run(f"{own}:echo", None)
    process.end()
