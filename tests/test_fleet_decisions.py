"""The fleet's decisions: bounds, scaling, what a cluster can never satisfy, replacement and draining of workers."""

import os
import sys
from typing import Any

import pytest
import structlog
from support_fleet import MemoryCluster, MemoryQueue, MemoryWorker
from support_kill import until

from service.cli import main
from service.cli.fleet import check_cluster, read_runtime_env, worker_options
from service.cli.logs import LogFormat
from service.errors import Forbidden
from service.fleet.fleet import QUEUE_SECONDS, Fleet
from service.fleet.placement import Phase
from service.fleet.ray_actor import WorkerActor, child_environment, gpu_number
from service.fleet.ray_cluster import check_address, import_ray
from service.fleet.resources import Free, Need, Node, check_possible, places, why_pending
from service.fleet.scaling import HOLD_SECONDS, Bounds, Demand, Scaling
from service.processes.supervisor import GIVE_UP_AFTER, STEADY_SECONDS, SupervisionFailed
from sparsemod.errors import InvalidInput, ServerUnavailable, ToolsMissing


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((8, None, None), Bounds(8, 8, 8)),
        ((None, None, 8), Bounds(0, 8, 0)),
        ((None, 2, 8), Bounds(2, 8, 2)),
        ((4, 2, 8), Bounds(2, 8, 4)),
        ((4, 2, None), Bounds(2, 4, 4)),
        ((4, None, 4), Bounds(0, 4, 4)),
    ],
)
def test_options_give_bounds(given: tuple[int | None, ...], expected: Bounds) -> None:
    assert Bounds.of(*given) == expected


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ((None, None, None), "--workers"),
        ((None, 2, None), "--max"),
        ((0, None, None), "--workers"),
        ((None, None, 0), "--max"),
        ((None, 5, 4), "--min"),
        ((9, 2, 8), "--workers"),
        ((1, 2, 8), "--workers"),
        ((-1, None, None), "--workers"),
        ((None, None, 10_001), "--max"),
    ],
)
def test_impossible_bounds_name_the_option(given: tuple[int | None, ...], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Bounds.of(*given)
    assert caught.value.field == field


def demand(queued: int, *busy: str) -> Demand:
    return Demand(queued, frozenset(busy))


def test_the_number_follows_the_queue_up_at_once_and_down_later() -> None:
    scaling = Scaling(Bounds(1, 6, 2))
    assert scaling.wanted(0.0, None) == 2
    assert scaling.wanted(1.0, demand(3, "a")) == 4
    assert scaling.wanted(2.0, demand(9, "a")) == 6, "never above the most"
    assert scaling.wanted(3.0, demand(0, "a", "b")) == 6
    assert scaling.wanted(2.0 + HOLD_SECONDS, demand(1, "a", "b")) == 6
    assert scaling.wanted(3.0 + HOLD_SECONDS, demand(0)) == 3, "the highest need of the last seconds"
    assert scaling.wanted(100.0, None) == 3, "an unknown demand changes nothing"
    assert scaling.wanted(101.0, demand(0)) == 1, "never below the least"


def test_a_fixed_number_stays() -> None:
    scaling = Scaling(Bounds(3, 3, 3))
    assert [scaling.wanted(float(now), demand(now)) for now in (0, 100, 200)] == [3, 3, 3]


def node(cpus: float, gpus: float = 0.0) -> Node:
    return Node("n", "10.0.0.1", cpus, gpus)


@pytest.mark.parametrize(
    ("need", "nodes", "field", "words"),
    [
        (Need(5), [node(4), node(2)], "--cpus-per-worker", "at most 4,"),
        (Need(1, 0.5), [node(4)], "--gpus-per-worker", "at most 0: no node of the cluster has a GPU"),
        (Need(4, 1), [node(2, 2), node(8)], "--gpus-per-worker", "no node has both"),
        (Need(1), [], "--address", "at least one node"),
    ],
)
def test_what_no_node_can_satisfy_is_an_error(need: Need, nodes: list[Node], field: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        check_possible(need, nodes)
    assert caught.value.field == field
    assert places(need, nodes) == 0


@pytest.mark.parametrize(
    ("need", "nodes", "expected"),
    [
        (Need(1), [node(4), node(2)], 6),
        (Need(0.1), [node(1)], 10),
        (Need(1, 0.5), [node(8, 2), node(4)], 4),
        (Need(1, 0.4), [node(8, 2)], 4),
        (Need(3, 0.5), [node(8, 2)], 2),
    ],
)
def test_places_of_a_cluster(need: Need, nodes: list[Node], expected: int) -> None:
    check_possible(need, nodes)
    assert places(need, nodes) == expected


@pytest.mark.parametrize(("cpus", "gpus"), [(0, 0), (-1, 0), (float("nan"), 0), (1, 2), (1, -0.5)])
def test_a_worker_s_need_is_checked(cpus: float, gpus: float) -> None:
    with pytest.raises(InvalidInput, match="per-worker"):
        Need(cpus, gpus)


def test_why_a_worker_is_pending() -> None:
    nodes = [node(4, 1), node(4)]
    assert why_pending(Need(6), nodes, Free(8, 1)) == "no node has 6 CPUs"
    assert why_pending(Need(1), nodes, Free(0.5, 1)) == "0.5 of 8 CPUs free"
    assert why_pending(Need(1, 0.5), nodes, Free(8, 0.2)) == "0.2 of 1 GPU free"
    assert why_pending(Need(1, 0.5), nodes, Free(8, 1)) == "starting"


# -- the fleet on a cluster in memory ------------------------------------------------------------------------------------------------


class Harness:
    """A fleet with a clock that a test moves."""

    def __init__(
        self, cluster: MemoryCluster, bounds: Bounds, queue: MemoryQueue | None = None, **options: Any
    ) -> None:
        self.now = 0.0
        self.cluster, self.queue = cluster, queue
        self.fleet = Fleet(cluster, Scaling(bounds), Need(), "w", queue, clock=lambda: self.now, **options)

    def step(self, seconds: float = QUEUE_SECONDS) -> None:
        self.now += seconds
        self.fleet.step()
        self.fleet.step()  # see what the first one placed

    def counts(self) -> tuple[int, int, int]:
        status = self.fleet.status()
        return status.running, status.pending, status.draining


def worker_of(cluster: MemoryCluster, name: str) -> MemoryWorker:
    (found,) = [worker for worker in cluster.alive() if worker.name == name]
    return found


def test_workers_above_the_room_are_pending_with_the_reason() -> None:
    harness = Harness(MemoryCluster(2), Bounds.of(3, None, None))
    harness.step()
    assert harness.counts() == (2, 1, 0)
    assert harness.fleet.status().why == "0 of 2 CPUs free"


def test_an_ended_worker_is_replaced_under_its_name_after_a_pause() -> None:
    harness = Harness(MemoryCluster(2), Bounds.of(2, None, None))
    harness.step()
    worker_of(harness.cluster, "w-1").end("the node died")
    harness.step(0.01)
    assert harness.counts() == (1, 1, 0)
    assert harness.fleet.status().why == "w-1: the node died"
    harness.step(1.0)
    assert harness.counts() == (2, 0, 0)
    assert [worker.name for worker in harness.cluster.placed] == ["w-1", "w-2", "w-1"]
    assert harness.cluster.placed[0].calls == ["kill"], "its place is freed"


def test_workers_that_never_stay_end_the_fleet() -> None:
    harness = Harness(MemoryCluster(1), Bounds.of(1, None, None))
    with pytest.raises(SupervisionFailed, match="w-1 failed 9 times in a row: no such token"):
        for _ in range(GIVE_UP_AFTER + 1):
            harness.step(20.0)
            worker_of(harness.cluster, "w-1").end("no such token")
            harness.fleet.step()


def test_a_worker_that_never_stays_is_replaced_while_another_one_runs() -> None:
    """A broken node must not end the fleet, after any number of failures."""
    harness = Harness(MemoryCluster(2), Bounds.of(2, None, None))
    harness.step()
    for failures in (3, 5000):
        harness.fleet.members[0].failures = failures
        worker_of(harness.cluster, "w-1").end("no disk")
        harness.step(0.01)
        assert harness.counts() == (1, 1, 0)
        harness.step(20.0)
        assert harness.counts() == (2, 0, 0)


def test_a_worker_that_ran_a_while_is_replaced_again_and_again() -> None:
    harness = Harness(MemoryCluster(1), Bounds.of(1, None, None))
    for _ in range(GIVE_UP_AFTER + 3):
        harness.step(20.0)
        harness.step(STEADY_SECONDS + 1)
        worker_of(harness.cluster, "w-1").end("out of memory")
        harness.fleet.step()
    harness.step(20.0)
    assert harness.counts() == (1, 0, 0)


def test_scaling_down_drains_and_never_kills() -> None:
    queue = MemoryQueue(4)
    harness = Harness(MemoryCluster(4), Bounds.of(None, 0, 4), queue)
    harness.step()
    assert harness.counts() == (4, 0, 0)
    queue.queued, queue.busy = 0, frozenset({"w-1", "w-4"})
    harness.step()
    assert harness.counts() == (4, 0, 0), "the next trial may come in a moment"
    harness.step(HOLD_SECONDS + 1)
    assert harness.counts() == (2, 0, 2)
    drained = {worker.name for worker in harness.cluster.placed if worker.calls == ["drain"]}
    assert drained == {"w-2", "w-3"}, "those without a trial"
    assert not any("kill" in worker.calls for worker in harness.cluster.placed)
    worker_of(harness.cluster, "w-2").end()
    harness.step(0.1)
    assert harness.counts() == (2, 0, 1), "a drained worker is not replaced"
    queue.queued = 2
    harness.step()
    assert harness.counts() == (3, 1, 1), (
        "a draining worker does not count, and keeps its place until it ends"
    )


def test_pending_workers_go_first() -> None:
    queue = MemoryQueue(4)
    harness = Harness(MemoryCluster(2), Bounds.of(None, 0, 4), queue)
    harness.step()
    assert harness.counts() == (2, 2, 0)
    queue.queued = 2
    harness.step(HOLD_SECONDS + 1)
    harness.step(HOLD_SECONDS + 1)
    assert harness.counts() == (2, 0, 0)
    assert {worker.name for worker in harness.cluster.alive()} == {"w-1", "w-2"}


def test_a_server_that_does_not_answer_changes_nothing() -> None:
    queue = MemoryQueue(2)
    harness = Harness(MemoryCluster(2), Bounds.of(None, 0, 2), queue, until_idle=60.0)
    harness.step()
    queue.error = ServerUnavailable("no answer")
    for _ in range(5):
        harness.step(HOLD_SECONDS + 1)
    assert harness.counts() == (2, 0, 0)
    assert "no answer" in harness.fleet.status().why
    assert not harness.fleet.idle(), "an unknown queue is not an empty one"


def test_the_fleet_ends_when_idle() -> None:
    queue = MemoryQueue(1)
    harness = Harness(MemoryCluster(1), Bounds.of(1, None, None), queue, until_idle=60.0)
    for _ in range(50):
        harness.step(5.0)
    assert not harness.fleet.idle()
    queue.queued = 0
    harness.step(59.0)
    assert not harness.fleet.idle()
    harness.step(2.0)
    assert harness.fleet.idle()


def test_a_refused_token_ends_the_fleet_before_it_places_workers() -> None:
    queue = MemoryQueue()
    queue.error = Forbidden("the token has the scope worker; this needs read")
    harness = Harness(MemoryCluster(1), Bounds.of(None, 0, 1), queue)
    with pytest.raises(Forbidden, match="this needs read"):
        harness.fleet.run(lambda: 0, pause=0)
    assert not harness.cluster.placed


def test_signals_drain_then_release_then_kill() -> None:
    harness = Harness(MemoryCluster(1), Bounds.of(2, None, None))
    calls: list[list[str]] = []

    def signals() -> int:
        harness.now += 0.01
        calls.append([call for worker in harness.cluster.placed for call in worker.calls])
        return (len(calls) > 3) + (len(calls) > 5) + (len(calls) > 7)

    harness.fleet.run(signals, pause=0)
    running, pending = harness.cluster.placed
    # The last kill frees the place of a worker that has ended.
    assert running.calls == ["drain", "release", "kill", "kill"]
    assert pending.calls == ["drain", "kill"]
    assert not harness.fleet.members and pending.state.phase is Phase.ENDED


# -- the command -----------------------------------------------------------------------------------------------------------------------


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["fleet", *words])
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert len(text.strip().splitlines()) == 1, text
    return text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "error --workers = None: a number of workers, or --min and --max"),
        (["--workers", "2", "--gpus-per-worker", "2"], "error --gpus-per-worker = 2.0: 0, a part of a GPU"),
        (["--workers", "2", "--runtime-env", "{"], "error --runtime-env"),
        (["--workers", "2", "--runtime-env", "no-file.yaml"], "No such file or directory"),
        (["--workers", "2", "--server", "lab"], "error --server = 'lab': an address such as http"),
    ],
)
def test_mistakes_are_one_line(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in complaint(capsys, *words)


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ToolsMissing):
        import_ray()
    assert "pip install 'sparsemod[ray]'" in complaint(capsys, "--workers", "2")


@pytest.mark.parametrize(
    "address", ["ray://head:10001", "cluster", "head:", ":1", "127.0.0.1:1", "127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(InvalidInput, match="auto, local, or HOST:PORT"):
        check_address(address)


class Machines(MemoryCluster):
    """A cluster with nodes on other machines."""

    def other_machines(self) -> list[str]:
        return ["10.0.0.1"]


def test_a_server_on_loopback_is_out_of_reach_of_other_machines() -> None:
    bounds = Bounds.of(2, None, None)
    for server in ("http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"):
        with pytest.raises(InvalidInput, match=r"--server = .*such as 10\.0\.0\.1"):
            check_cluster(Machines(4), Need(), bounds, server, autoscaler=False)
    check_cluster(Machines(4), Need(), bounds, "http://lab:8080", autoscaler=False)


def test_what_is_too_large_is_said_before_a_worker_is_placed() -> None:
    server = "http://lab:8080"
    with structlog.testing.capture_logs() as said:
        with pytest.raises(InvalidInput, match="at most 4"):
            check_cluster(Machines(4), Need(8), Bounds.of(1, None, None), server, autoscaler=False)
        check_cluster(Machines(4), Need(8), Bounds.of(1, None, None), server, autoscaler=True)
    assert said == []
    with structlog.testing.capture_logs() as said:
        check_cluster(Machines(4, 2), Need(2), Bounds.of(None, 1, 5), server, autoscaler=False)
    (line,) = said
    assert (line["event"], line["room"], line["most"]) == ("the cluster is too small for all workers", 3, 5)


def test_a_runtime_environment_comes_from_text_or_a_file(tmp_path: Any) -> None:
    (tmp_path / "env.yaml").write_text("working_dir: ./mine\nenv_vars: {A: '1'}\n")
    (tmp_path / "env.json").write_text('{"pip": ["timm"]}')
    assert read_runtime_env('{"working_dir": "."}') == {"working_dir": "."}
    assert read_runtime_env(str(tmp_path / "env.yaml")) == {"working_dir": "./mine", "env_vars": {"A": "1"}}
    assert read_runtime_env(str(tmp_path / "env.json")) == {"pip": ["timm"]}
    for wrong in ("{1: 2}", str(tmp_path), "{}}"):
        with pytest.raises(InvalidInput):
            read_runtime_env(wrong)


def test_the_worker_s_options_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from support_compose import parse_command

    monkeypatch.setenv("SPARSEMOD_IMPORTS", "mine")
    words = worker_options("http://lab:8080", Need(2.5), 30.0, ["mine", "yours"], LogFormat.JSON)
    values = parse_command(["worker", "--name", "w-1", "--cpu", *words])
    assert (values["server"], values["drain"], values["threads"]) == ("http://lab:8080", 30.0, 2)
    assert list(values["imports"]) == ["mine", "yours"]
    assert values["log_format"] in (LogFormat.JSON, "json")


def test_the_child_gets_token_and_gpu_from_its_actor() -> None:
    assert child_environment({"SPARSEMOD_TOKEN": "node"}, "fleet")["SPARSEMOD_TOKEN"] == "fleet"
    found = child_environment({"SPARSEMOD_TOKEN": "node"}, "")
    assert found["SPARSEMOD_TOKEN"] == "node"
    assert found["SPARSEMOD_SUPERVISOR"] == str(os.getpid())
    assert gpu_number(["3"]) == "3"
    for wrong in ([], ["0", "1"], ["GPU-1234"]):
        with pytest.raises(ValueError, match="one GPU with a number"):
            gpu_number(wrong)


def test_an_actor_passes_on_why_its_worker_ended(capfd: pytest.CaptureFixture[str]) -> None:
    actor = WorkerActor("w-1", ["--server", "lab"], "", gpu=False)
    assert actor.look() == {"code": None, "line": ""}
    actor.end()  # there is no worker yet
    actor.start_child(["--cpu"])
    until(lambda: actor.look()["code"] is not None, 100, "the worker's end")
    found = actor.look()
    assert found["code"] == 2
    assert found["line"].startswith("error --server = 'lab': an address such as http")
    assert "error --server = 'lab'" in capfd.readouterr().out
