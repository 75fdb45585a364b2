"""A claim with a starting point: the child continues from the checkpoint, or inherits the parent's weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_trials import manual, tiny_data, tiny_spec
from support_worker import MemoryServer, make_claim

from service.worker.attempt import Attempt
from service.worker.attempt_settings import AttemptSettings, Ending
from service.worker.fork_server import ForkServer
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import Silent, evaluate
from sparsemod.records import CurvePoint, FailureKind, TrialResult, TrialState

SPEC = tiny_spec()
CANDIDATE = manual(Problem.of(SPEC, tiny_data(SPEC).info).space.complete({}))
EPOCHS, SEED = 4, 7
REAL = "service.worker.trial_process:evaluate_job"


class StopAfterTwo(Silent):
    """Keeps the checkpoints, and stops the trial after two epochs."""

    def __init__(self) -> None:
        self.points: list[CurvePoint] = []
        self.checkpoints: list[bytes] = []

    def point(self, point: CurvePoint) -> None:
        self.points.append(point)

    def checkpoint(self, data: bytes) -> None:
        self.checkpoints.append(data)

    def should_stop(self) -> bool:
        return len(self.points) >= 2


def trial(**options: Any) -> TrialResult:
    """The trial of the claim in this process."""
    return evaluate(SPEC, CANDIDATE, epochs=EPOCHS, seed=SEED, data=tiny_data(SPEC), **options)


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    found = ForkServer()
    yield found
    found.close()


def attempt(
    fork_server: ForkServer,
    folder: Path,
    server: MemoryServer,
    ending: Ending = Ending.FINISHED,
    **claimed: Any,
) -> TrialResult:
    """The result of a claim on the real trial, with `claimed` in place of some of its fields."""
    fields = {"spec": SPEC, "candidate": CANDIDATE, "epochs": EPOCHS, "seed": SEED, **claimed}
    claim = make_claim(lease=60.0).model_copy(update=fields)
    settings = AttemptSettings(device="cpu", evaluate=REAL, directory=folder)
    assert Attempt(server, claim, fork_server, settings).run() is ending
    return server.results[1]


def test_a_claim_with_a_checkpoint_continues_after_its_last_epoch(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    stopped = StopAfterTwo()
    assert trial(reporter=stopped).state is TrialState.STOPPED
    server = MemoryServer()
    digest = server.upload(stopped.checkpoints[-1])
    result = attempt(fork_server, tmp_path, server, checkpoint=digest)
    assert result.state is TrialState.COMPLETED, result.failure
    assert [point.epoch for point in server.curve[1]] == [3, 4], "two epochs were kept, two are trained"
    whole = trial()
    assert result.values() == whole.values()
    curve = [*stopped.points, *server.curve[1]]
    assert [point.train_loss for point in curve] == [point.train_loss for point in whole.curve]


@pytest.mark.long
def test_a_claim_without_a_checkpoint_begins_at_the_first_epoch(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    server = MemoryServer()
    result = attempt(fork_server, tmp_path, server)
    assert result.state is TrialState.COMPLETED, result.failure
    assert [point.epoch for point in server.curve[1]] == [1, 2, 3, 4]
    assert result.curve == (), "the points were sent before, each once"


def test_a_claim_with_a_parent_inherits_its_weights(fork_server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "parent").mkdir()
    parent = trial(workdir=tmp_path / "parent")
    server = MemoryServer()
    stored = next(artifact for artifact in parent.artifacts if artifact.kind == "weights")
    assert server.upload(tmp_path / "parent" / stored.name) == stored.digest
    named = make_claim(
        parent={
            "index": 0,
            "parameters": CANDIDATE.parameters,
            "epochs": 4,
            "artifacts": [stored.model_dump()],
        }
    ).parent
    result = attempt(fork_server, tmp_path, server, parent=named, epochs=1)
    assert result.state is TrialState.COMPLETED, result.failure
    assert result.notes[0] == "inherited all weights of the same network"
    assert result.epochs == 5
    assert server.curve[1][0].train_loss < parent.curve[0].train_loss


def test_a_checkpoint_that_is_gone_gives_the_trial_back_and_names_it(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    digest = "sha256:" + "0" * 64
    result = attempt(fork_server, tmp_path, MemoryServer(), Ending.RELEASED, checkpoint=digest)
    assert result.failure is not None and result.failure.kind is FailureKind.ENVIRONMENT
    assert "could not fetch the trial's input files" in result.failure.message
    assert digest in result.failure.message
