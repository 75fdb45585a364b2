"""A failure of a trial's child process costs only its attempt, and is reported."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support_worker import MemoryServer, make_claim

from service.errors import NoSpace, ServerError
from service.worker.attempt import REFUSALS, Attempt
from service.worker.attempt_settings import RELEASED, AttemptSettings, Ending
from service.worker.fork_server import ForkServer
from service.worker.trial_log import TrialLog
from sparsemod.errors import InvalidInput, ServerUnavailable
from sparsemod.records import FailureKind, TrialResult, TrialState


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    found = ForkServer(preload=("support_worker",))
    yield found
    found.close()


@pytest.fixture
def settings(tmp_path: Path) -> AttemptSettings:
    return AttemptSettings(device="cpu", evaluate="support_worker:behave", directory=tmp_path, stop_grace=1.0)


def until(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.01)


def run(
    fork_server: ForkServer, settings: AttemptSettings, behaviour: str, **limits: object
) -> tuple[MemoryServer, TrialResult]:
    server = MemoryServer()
    ending = Attempt(server, make_claim(behaviour=behaviour, **limits), fork_server, settings).run()
    assert ending is Ending.FINISHED
    return server, server.results[1]


def test_a_good_trial_reports_everything(fork_server: ForkServer, settings: AttemptSettings) -> None:
    server, result = run(fork_server, settings, "good")
    assert result.state is TrialState.COMPLETED
    assert [point.epoch for point in server.curve[1]] == [1, 2, 3]
    assert server.lines == ["epoch 1", "epoch 2", "epoch 3"]
    assert server.blobs[result.artifacts[0].digest] == b"final weights"
    assert not list(settings.directory.glob("attempt-*")), "the attempt's folder is removed"


def test_a_network_that_cannot_be_built_is_invalid(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    _, result = run(fork_server, settings, "invalid")
    assert result.failure is not None
    assert result.failure.kind is FailureKind.INVALID
    assert result.failure.message.startswith("blocks.4: the image is 8 x 8")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("raise", "RuntimeError: division of labour by zero"),
        ("segfault", "was ended by SIGSEGV"),
        ("killed", "SIGKILL in stage 'start'; not by this worker, so perhaps by the kernel"),
        ("exit", "exit code 7"),
    ],
)
def test_a_crash_is_a_fault_with_its_cause(
    fork_server: ForkServer, settings: AttemptSettings, behaviour: str, words: str
) -> None:
    server, result = run(fork_server, settings, behaviour)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.FAULT
    assert words in result.failure.message
    if behaviour == "segfault":
        assert "about to fall" in result.failure.detail
        assert "Segmentation fault" in result.failure.detail
        assert "about to fall" in server.lines
    if behaviour == "raise":
        assert any("Traceback" in line for line in server.lines)
    # The fork server lives on.
    _, result = run(fork_server, settings, "good")
    assert result.state is TrialState.COMPLETED


def test_the_time_limit_ends_a_trial(fork_server: ForkServer, settings: AttemptSettings) -> None:
    _, result = run(fork_server, settings, "hang", trial_seconds=0.4)
    assert result.failure is not None
    assert result.failure.kind is FailureKind.FAULT
    assert "took longer than limits.trial_seconds = 0.4 s" in result.failure.message


def test_the_memory_limit_ends_a_trial(fork_server: ForkServer, settings: AttemptSettings) -> None:
    _, result = run(fork_server, settings, "eat", memory="200 MB")
    assert result.failure is not None
    assert "limits.memory is 200.0 MB" in result.failure.message


def test_a_stopped_trial_keeps_its_results(fork_server: ForkServer, settings: AttemptSettings) -> None:
    server = MemoryServer(stop=True)
    assert Attempt(server, make_claim(behaviour="endless"), fork_server, settings).run() is Ending.FINISHED
    assert server.results[1].state is TrialState.STOPPED
    assert server.results[1].artifacts


def test_a_trial_that_does_not_stop_is_killed(fork_server: ForkServer, settings: AttemptSettings) -> None:
    server = MemoryServer(stop=True)
    assert Attempt(server, make_claim(behaviour="hang"), fork_server, settings).run() is Ending.FINISHED
    assert server.results[1].state is TrialState.STOPPED
    assert "was killed" in server.results[1].notes[0]


def test_a_lost_lease_ends_the_child_and_reports_nothing(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    server = MemoryServer()
    attempt = Attempt(server, make_claim(behaviour="endless"), fork_server, settings)
    endings: list[Ending] = []
    thread = threading.Thread(target=lambda: endings.append(attempt.run()))
    thread.start()
    until(lambda: server.beats > 1)
    server.stale = True
    thread.join(timeout=20)
    assert endings == [Ending.LOST]
    assert not server.results


def test_a_server_that_was_away_loses_nothing(fork_server: ForkServer, settings: AttemptSettings) -> None:
    server = MemoryServer()
    attempt = Attempt(server, make_claim(behaviour="slow"), fork_server, settings)
    thread = threading.Thread(target=attempt.run)
    thread.start()
    until(lambda: bool(server.curve.get(1)))
    server.away = True
    time.sleep(1.5)  # longer than the lease, and than the rest of the trial
    server.away = False
    thread.join(timeout=20)
    assert server.results[1].state is TrialState.COMPLETED
    assert [point.epoch for point in server.curve[1]] == list(range(1, 21))
    assert server.checkpoints


@pytest.mark.parametrize("method", ["heartbeat", "points", "checkpoint", "finish", "upload"])
@pytest.mark.parametrize(
    "bad",
    [
        [ServerError("500, and no answer of ours")],
        [ServerUnavailable("429")],
        [InvalidInput("token", "", "a token")],
        [NoSpace("files cannot be stored in /data: No space left on device")] * 3,
    ],
    ids=["500", "429", "422", "full"],
)
def test_a_bad_answer_to_a_report_loses_nothing(
    fork_server: ForkServer,
    settings: AttemptSettings,
    method: str,
    bad: list[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.worker.retries.RETRY_SECONDS", (0.01, 0.05))
    server, left = MemoryServer(), list(bad)
    real = getattr(server, method)

    def once(*arguments: object) -> object:
        if left:
            raise left.pop(0)
        return real(*arguments)

    setattr(server, method, once)
    assert Attempt(server, make_claim(), fork_server, settings).run() is Ending.FINISHED
    assert server.results[1].state is TrialState.COMPLETED
    assert {point.epoch for point in server.curve[1]} == {1, 2, 3}
    assert server.checkpoints
    assert set(server.blobs.values()) >= {b"final weights", b"weights after two epochs"}


def test_a_result_that_is_always_rejected_is_a_fault_with_the_reason(
    fork_server: ForkServer, settings: AttemptSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker.retries.RETRY_SECONDS", (0.01, 0.05))
    server, asked = MemoryServer(), []
    real = server.finish

    def refuse(attempt: int, token: str, result: TrialResult, following: Any = None) -> Any:
        asked.append(result)
        if result.state is TrialState.COMPLETED:
            raise InvalidInput("result.measurements", [], "also the objectives")
        return real(attempt, token, result, following)

    monkeypatch.setattr(server, "finish", refuse)
    assert Attempt(server, make_claim(), fork_server, settings).run() is Ending.FINISHED
    assert len(asked) == REFUSALS + 1
    failure = server.results[1].failure
    assert failure is not None
    assert failure.message.startswith("the server refused the result: result.measurements = []")


def test_files_that_the_server_never_takes_give_the_trial_back(
    fork_server: ForkServer, settings: AttemptSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker.retries.RETRY_SECONDS", (0.001, 0.002))
    server = MemoryServer()

    def fail(content: object) -> str:
        raise ServerError("PUT: 500, and no answer of ours")

    monkeypatch.setattr(server, "upload", fail)
    assert Attempt(server, make_claim(), fork_server, settings).run() is Ending.RELEASED
    failure = server.results[1].failure
    assert failure is not None
    assert failure.kind is FailureKind.ENVIRONMENT
    assert failure.message == "the trial's files could not be stored: PUT: 500, and no answer of ours"


def test_a_released_trial_goes_back_with_its_checkpoint(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    server = MemoryServer()
    attempt = Attempt(server, make_claim(behaviour="endless"), fork_server, settings)
    endings: list[Ending] = []
    thread = threading.Thread(target=lambda: endings.append(attempt.run()))
    thread.start()
    until(lambda: len(server.curve.get(1, ())) > 3)
    attempt.release()
    thread.join(timeout=20)
    assert endings == [Ending.RELEASED]
    failure = server.results[1].failure
    assert failure is not None
    assert (failure.kind, failure.detail) == (FailureKind.FAULT, RELEASED)
    assert [server.blobs[digest] for digest in server.checkpoints] == [b"weights after two epochs"]


def test_a_killed_fork_server_costs_its_attempts_only(settings: AttemptSettings) -> None:
    import os
    import signal

    fork_server = ForkServer(preload=("support_worker",))
    try:
        server = MemoryServer()
        attempt = Attempt(server, make_claim(behaviour="endless"), fork_server, settings)
        thread = threading.Thread(target=attempt.run)
        thread.start()
        until(lambda: bool(server.curve.get(1)))
        assert fork_server.pid is not None
        os.kill(fork_server.pid, signal.SIGKILL)
        thread.join(timeout=20)
        failure = server.results[1].failure
        assert failure is not None
        assert failure.kind is FailureKind.FAULT
        _, result = run(fork_server, settings, "good")
        assert result.state is TrialState.COMPLETED
    finally:
        fork_server.close()


def test_output_without_an_end_of_line_is_kept_in_pieces(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    server, result = run(fork_server, settings, "endless line")
    assert result.state is TrialState.COMPLETED
    printed = [line for line in server.lines if not line.startswith("epoch")]
    assert all(len(line) <= 10_000 for line in printed)
    assert printed[0].endswith("…") and printed[-1] == "end"


def test_temporary_files_lie_in_the_attempts_folder(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    server, _ = run(fork_server, settings, "temporary")
    assert server.lines[0] == "tmp"
    assert server.lines[1].startswith(str(settings.directory.absolute()))


def test_a_progress_bar_is_one_line(fork_server: ForkServer, settings: AttemptSettings) -> None:
    server, _ = run(fork_server, settings, "bar")
    assert [line for line in server.lines if not line.startswith("epoch")] == ["100 %"]


def test_output_is_kept_up_to_a_stated_limit(fork_server: ForkServer, settings: AttemptSettings) -> None:
    server, result = run(fork_server, settings, "chatty")
    assert result.state is TrialState.COMPLETED
    assert "the trial has printed 20,000 lines; further lines are dropped" in server.lines
    assert [line for line in server.lines if line.startswith("epoch")] == ["epoch 1", "epoch 2", "epoch 3"]
    numbers = [int(line) for line in server.lines if line.isdecimal()]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 19_999
    missing = sum(
        int(line.split()[0].replace(",", "")) for line in server.lines if "lines are missing here" in line
    )
    assert missing >= 20_000 - len(numbers)


def test_a_long_curve_arrives_whole_after_the_server_was_away(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    server = MemoryServer(away=True)
    attempt = Attempt(server, make_claim(behaviour="long"), fork_server, settings)
    thread = threading.Thread(target=attempt.run)
    thread.start()
    until(lambda: len(attempt._points) == 5003)
    server.away = False
    thread.join()
    assert [point.epoch for point in server.curve[1]] == [*range(1, 5001), 1, 2, 3]
    assert server.results[1].state is TrialState.COMPLETED


def test_the_kernel_takes_a_trial_before_its_worker(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    server, _ = run(fork_server, settings, "first to go")
    assert int(server.lines[0]) > int(Path("/proc/self/oom_score_adj").read_text())


def test_processes_of_a_trial_end_with_it(fork_server: ForkServer, settings: AttemptSettings) -> None:
    server, result = run(fork_server, settings, "orphan")
    assert result.failure is not None and "exit code 7" in result.failure.message
    until(lambda: not Path(f"/proc/{server.lines[0]}").exists())


def test_a_process_that_a_trial_set_free_is_not_waited_for(
    fork_server: ForkServer, settings: AttemptSettings
) -> None:
    server, result = run(fork_server, settings, "free orphan")
    assert result.failure is not None and "exit code 7" in result.failure.message
    os.kill(int(server.lines[0]), signal.SIGKILL)  # raises if the process has ended and was waited for


def test_lines_that_could_not_be_sent_are_counted() -> None:
    log = TrialLog(capacity=3)
    for number in range(5):
        log.add(f"line {number}", "info", float(number))
    lines, mark = log.batch(3)
    assert [line.message for line in lines] == [
        "2 lines are missing here: the trial printed faster than the worker could send",
        "line 2",
        "line 3",
    ]
    log.add("line 5", "info", 5.0)  # makes room at the expense of line 2, which is on its way
    log.sent(mark)
    rest, mark = log.batch(3)
    assert [line.message for line in rest] == ["line 4", "line 5"]
    log.sent(mark)
    assert len(log) == 0 and log.batch(3)[0] == []
