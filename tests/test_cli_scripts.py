"""The installed commands as processes: they exist, start quickly, and a worker handles signals; `debug` of a
config.cfg."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support_kill import Processes, stop_gently, store_at, until
from support_serve import local_trials
from support_store import Suggestion, fill

from service.cli import main
from service.schemas.trials import AttemptState
from sparsemod.records import Candidate, TrialState
from sparsemod.spec.experiment import ExperimentSpec

BIN = Path(sys.executable).parent
PATIENCE = 200
"""Seconds. No result: only how long a machine may be busy with other things before a test gives up."""

SHORT, ENDLESS = 50, 100_000
"""Epochs of a trial that is waited for, and of one that nobody waits for."""

SPEC = ExperimentSpec.parse(
    {
        "name": "signals",
        "dataset": {"name": "digits"},
        "network": {"family": "mlp"},
        "objectives": ["error"],
        "measure": {"device": "model"},
        "rounds": {"r1": {"trials": 2, "epochs": SHORT}},
    }
)


@pytest.mark.parametrize("command", ["sparsemod", "worker"])
def test_help_takes_less_than_half_a_second(command: str) -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([BIN / command, "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Of the processor, which other processes on this machine do not lengthen much.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "Usage:" in done.stdout
    assert min(seconds) < 0.5


@pytest.mark.long
def test_a_workers_signals(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    store = store_at(tmp_path)
    made = store.create_experiment(SPEC).id
    parameters = {"layers": 1, "l1_width": 8, "dropout": 0.0}
    candidate = Candidate(parameters=parameters, origin="sobol", round="r1")
    fill(store, made, [Suggestion(candidate, epochs=epochs) for epochs in (SHORT, ENDLESS)])
    try:
        processes.start_server()
        processes.start_worker("once")
        until(lambda: store.trial(made, 0).state is TrialState.RUNNING, PATIENCE, "the first trial")
        first = processes.running.pop("once")
        first.terminate()
        assert first.wait(PATIENCE) == 0
        assert store.trial(made, 0).state is TrialState.COMPLETED, "the trial under way is finished"
        assert store.trial(made, 1).state is TrialState.QUEUED, "and no other one begun"
        processes.start_worker("twice")
        until(lambda: store.curve(made, 1), PATIENCE, "the second trial's curve")
        second = processes.running.pop("twice")
        second.terminate()
        time.sleep(0.1)  # two signals at the same time would count as one
        second.terminate()
        assert second.wait(PATIENCE) == 0
        given_back = store.trial(made, 1)
        assert given_back.state is TrialState.QUEUED
        assert [attempt.state for attempt in given_back.attempts] == [AttemptState.RELEASED]
        claim = store.claim("another")
        assert claim is not None and claim.trial == 1 and claim.checkpoint is not None
    except AssertionError as error:
        raise AssertionError(f"{error}\n{processes.logs()}") from error
    finally:
        processes.end()
        store.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_cleanly_on_request(tmp_path: Path, number: int) -> None:
    processes = Processes(tmp_path)
    try:
        processes.start_server()
        processes.answers()
        assert stop_gently(processes.running.pop("server"), number, PATIENCE) == 0, processes.logs()
    finally:
        processes.end()


DEEP = """
dataset: {name: digits, limit: 200}
network: {family: cnn, options: {max_filters: 4}}
space: {blocks: 1, b1_layers: 3, b1_l1_type: down, b1_l2_type: down, b1_l3_type: down, b1_pool: [true, false]}
rounds: {r1: {trials: 3, epochs: 1}, r2: {trials: 0, epochs: 1}, r3: {trials: 0, epochs: 1}}
objectives: [error]
"""


@pytest.mark.parametrize("debug", ["on", "off"])
def test_debug_prints_errors_and_the_search_goes_on(
    debug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.yaml").write_text(DEEP)
    (tmp_path / "config.cfg").write_text(f"include = deep.yaml\nname = deep\ndebug = {debug}\n")
    with pytest.raises(SystemExit) as end:
        main(["run", "config.cfg"])
    said = capsys.readouterr().err
    assert end.value.code == 0, said
    assert (": block 1, pooling: a feature map of 1 x 1 cannot be halved" in said) == (debug == "on"), said
    trials = local_trials(tmp_path / "runs" / "deep")
    failed = [trial.index for trial in trials if trial.result.state is TrialState.FAILED]
    assert failed
    assert len(trials) == 3 + len(failed)
