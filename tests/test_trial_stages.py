"""Composing the pipeline: orders that cannot work, and stages from outside - prune and retrain in a loop, and a rewind to early weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import pytest
import torch
from pydantic import Field, field_validator
from support_trials import manual, tiny_data, tiny_spec

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.training_step import train_network
from sparsemod.pipeline.trial import Silent, evaluate
from sparsemod.pipeline.work import Work, plain_state
from sparsemod.pruning.base import Context, Method
from sparsemod.records import TrialResult, TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import PRUNING
from sparsemod.spec.pipeline_choice import stages_from
from sparsemod.stages.base import STAGES, Stage
from sparsemod.stages.composition import check_pipeline, compose

ROUNDS = 3
PIPELINE: list[Any] = ["build", "screen", "inherit", "train", "prune", "quantize", "measure"]


@pytest.fixture(autouse=True)
def _stages() -> Iterator[None]:
    """The stages below, for one test: the registry is the process's."""
    STAGES.names()  # registers those of the package, which must stay
    held = dict(STAGES._members)
    for member in (Remember, PruneStep, Rewind, FineTune, Loop):
        STAGES.register(member.model_fields["name"].default)(member)
    yield
    for name in set(STAGES._members) - set(held):
        del STAGES._members[name]


class Kept(Method[Any]):
    """Keeps the current zeros while the other weights are trained."""

    def start(self, context: Context) -> None:
        self.zeros = [(t, t.detach() == 0) for t in context.module.parameters() if t.ndim > 1]

    def after_step(self) -> None:
        for tensor, zero in self.zeros:
            tensor.data.masked_fill_(zero, 0.0)


class Remember(Stage):
    """Keep the weights as they are now, for a later rewind."""

    needs: ClassVar[frozenset[str]] = frozenset({"network"})
    gives: ClassVar[frozenset[str]] = frozenset({"remembered"})
    name: Literal["remember"] = Field("remember", description="Keep the weights.")

    def run(self, work: Work) -> None:
        work.shared["early"] = plain_state(work.network())


class PruneStep(Stage):
    """Set the smallest share of the weights that are left to zero."""

    needs: ClassVar[frozenset[str]] = frozenset({"trained"})
    gives: ClassVar[frozenset[str]] = frozenset({"masked"})
    name: Literal["prune-step"] = Field("prune-step", description="Prune some more.")
    share: float = Field(0.5, gt=0, lt=1, description="Share of what is left.")

    def run(self, work: Work) -> None:
        for tensor in work.network().parameters():
            if tensor.ndim > 1:
                left = tensor.detach().abs()[tensor != 0]
                limit = left.quantile(self.share)
                tensor.data[tensor.detach().abs() <= limit] = 0.0


class Rewind(Stage):
    """Give the weights that are left the values that were remembered, and train the rest of the way."""

    needs: ClassVar[frozenset[str]] = frozenset({"masked", "remembered"})
    gives: ClassVar[frozenset[str]] = frozenset({"trained"})
    ends: ClassVar[frozenset[str]] = frozenset({"masked", "deployable", "integer", "measured"})
    certain: ClassVar[bool] = False
    name: Literal["rewind"] = Field("rewind", description="Rewind and retrain.")
    epochs: int = Field(1, ge=1, description="Epochs of retraining.")

    def run(self, work: Work) -> TrialResult | None:
        for name, tensor in work.network().named_parameters():
            early = work.shared["early"][name]
            tensor.data.copy_(torch.where(tensor != 0, early, 0.0) if tensor.ndim > 1 else early)
        work.shared.setdefault("rewound", []).append(plain_state(work.network()))
        return train_network(work, epochs=self.epochs, pruner=lambda module: Kept(PRUNING.config("none")))


class FineTune(Stage):
    """Round the weights to the integers of the quantized network, and train on from there."""

    needs: ClassVar[frozenset[str]] = frozenset({"integer"})
    gives: ClassVar[frozenset[str]] = frozenset({"trained"})
    ends: ClassVar[frozenset[str]] = frozenset({"deployable", "integer", "measured"})
    certain: ClassVar[bool] = False
    name: Literal["fine-tune"] = Field("fine-tune", description="Train after quantization.")
    epochs: int = Field(1, ge=1, description="Epochs of fine-tuning.")

    def run(self, work: Work) -> TrialResult | None:
        work.shared["quantized"] = work.integer
        for tensor in work.network().parameters():
            if tensor.ndim > 1:
                scale = tensor.detach().abs().amax(dim=1, keepdim=True) / 127
                tensor.data.copy_((tensor.detach() / scale).round() * scale)
        return train_network(work, epochs=self.epochs, pruner=lambda module: Kept(PRUNING.config("none")))


class Loop(Stage):
    """Other stages, a number of times."""

    name: Literal["loop"] = Field("loop", description="Repeat stages.")
    times: int = Field(1, ge=1, description="How often.")
    stages: tuple[Any, ...] = Field(description="The stages.")

    @field_validator("stages", mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        return stages_from(given, "pipeline.loop")

    def after(self, holds: frozenset[str]) -> frozenset[str]:
        return compose(self.stages, holds, f"{self.name}.stages", repeated=self.times > 1)

    def run(self, work: Work) -> TrialResult | None:
        for _ in range(self.times):
            if (ended := work.run(self.stages)) is not None:
                return ended
        return None


def spec(pipeline: list[Any], **changes: Any) -> ExperimentSpec:
    return tiny_spec("mlp", pipeline=pipeline, space={}, **changes)


LOTTERY = [
    "build", "screen", "remember", "train",
    {"name": "loop", "times": ROUNDS, "stages": [{"name": "prune-step", "share": 0.5}, {"name": "rewind", "epochs": 2}]},
    "prune", "quantize", "measure",
]  # fmt: skip


class Watched(Silent):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.epochs: list[int] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def point(self, point: Any) -> None:
        self.epochs.append(point.epoch)


def run(pipeline: list[Any], **changes: Any) -> tuple[TrialResult, Watched]:
    ours, watched = spec(pipeline), Watched()
    values = Problem.of(ours, tiny_data(ours).info).space.complete({"layers": 1, "l1_width": 12})
    result = evaluate(
        ours, manual(values), epochs=3, seed=7, data=tiny_data(ours), reporter=watched, **changes
    )
    return result, watched


def test_a_loop_of_prune_and_rewind_is_composed_of_stages(tmp_path: Any) -> None:
    seen: list[Work] = []
    original = Rewind.run

    def spy(self: Rewind, work: Work) -> TrialResult | None:
        seen.append(work)
        return original(self, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rewind, "run", spy)
        result, watched = run(LOTTERY, workdir=tmp_path)
    assert result.state is TrialState.COMPLETED, result.failure
    inside = ["prune-step", "rewind"] * ROUNDS
    assert watched.stages == [
        "build",
        "screen",
        "remember",
        "train",
        "loop",
        *inside,
        "prune",
        "quantize",
        "measure",
    ]
    assert watched.epochs == [p.epoch for p in result.curve] == list(range(1, 3 + 2 * ROUNDS + 1))
    assert result.epochs == 3 + 2 * ROUNDS
    work = seen[0]
    left = []
    for rewound in work.shared["rewound"]:
        weights = {name: t for name, t in rewound.items() if t.ndim > 1}
        for name, tensor in weights.items():  # the remaining weights have their early values
            assert torch.equal(tensor[tensor != 0], work.shared["early"][name][tensor != 0])
        left.append(sum(int((t != 0).sum()) for t in weights.values()))
    total = sum(t.numel() for t in work.shared["early"].values() if t.ndim > 1)
    assert [round(total / count) for count in left] == [2, 4, 8]
    # Retraining kept the zeros: they are those of the stored network.
    final = {name: t for name, t in plain_state(work.network()).items() if t.ndim > 1}
    assert sum(int((t != 0).sum()) for t in final.values()) == left[-1]
    assert set(result.seconds) == {*watched.stages}


def test_fine_tuning_after_quantization_is_composed_of_stages(tmp_path: Path) -> None:
    seen: list[Work] = []
    original = FineTune.run

    def spy(self: FineTune, work: Work) -> TrialResult | None:
        seen.append(work)
        return original(self, work)

    again: list[Any] = [*PIPELINE[:-1], {"name": "fine-tune", "epochs": 2}, "prune", "quantize", "measure"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTune, "run", spy)
        result, watched = run(again, workdir=tmp_path)
    assert result.state is TrialState.COMPLETED, result.failure
    assert watched.stages == [
        "build", "screen", "train", "prune", "quantize", "fine-tune", "prune", "quantize", "measure",
    ]  # fmt: skip
    assert watched.epochs == [1, 2, 3, 4, 5]
    # The stored network is the second one.
    before, after = seen[0].shared["quantized"], seen[0].integer
    assert before is not None and after is not None and before.to_bytes() != after.to_bytes()
    stored = next(artifact for artifact in result.artifacts if artifact.kind == "network")
    assert (tmp_path / stored.name).read_bytes() == after.to_bytes()


def test_equal_seeds_give_equal_results_in_a_composed_pipeline():
    first, second = (run(LOTTERY)[0] for _ in range(2))
    assert first.measurements == second.measurements
    assert [p.validation_loss for p in first.curve] == [p.validation_loss for p in second.curve]
    assert run(PIPELINE)[0].value("error") != first.value("error")


def test_a_resumed_trial_repeats_the_later_trainings():
    kept: list[bytes] = []
    ours = spec(LOTTERY)
    values = Problem.of(ours, tiny_data(ours).info).space.complete({"layers": 1, "l1_width": 12})
    reporter = Silent()
    reporter.checkpoint = kept.append  # type: ignore[method-assign]
    common: dict[str, Any] = {"epochs": 3, "seed": 7, "data": tiny_data(ours)}
    whole = evaluate(ours, manual(values), reporter=reporter, **common)
    assert len(kept) == 3  # of the first training alone
    again = Watched()
    resumed = evaluate(ours, manual(values), resume=kept[1], reporter=again, **common)
    assert resumed.measurements == whole.measurements
    assert again.epochs == list(range(3, 3 + 2 * ROUNDS + 1))  # epochs 1 and 2 were not trained again


@pytest.mark.parametrize(
    ("pipeline", "field", "said"),
    [
        (["build", "screen", "quantize", "train", "prune", "measure"], "pipeline.2", "quantize after prune: quantize needs 'deployable', which prune gives"),
        (["build", "train", "screen", "prune", "quantize", "measure"], "pipeline.2", "screen before train: screen needs 'fresh', which train ends"),
        (["build", "screen", "train", "prune", "train", "quantize", "measure"], "pipeline.5", "quantize before train: quantize needs 'deployable', which train ends"),
        (["screen"], "pipeline.0", "screen after build"),
        (PIPELINE[:-1], "pipeline", "measure after quantize: a trial's result is its measured network"),
        ([], "pipeline", "measure after nothing"),
        (["build", "screen", "train", "rewind", "prune", "quantize", "measure"], "pipeline.3", "rewind after prune-step: rewind needs 'masked', which prune-step gives"),
        (["build", "screen", "remember", {"name": "loop", "times": 2, "stages": ["train", "prune-step", "rewind", "inherit"]}, "prune", "quantize", "measure"], "loop.stages.3", "inherit before train"),
        (["build", {"name": "screen", "limit": 1}], "pipeline.1.limit", "unknown key; known here: name, version"),
        (["build", 3], "pipeline.1", "the name of a stage ("),
        ("build", "pipeline", "a list of stages"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_work_is_refused_with_both_names(pipeline: Any, field: str, said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        spec(pipeline)
    assert caught.value.field == field
    assert said in caught.value.allowed


def test_the_second_round_of_a_loop_is_checked_too() -> None:
    stages = [
        "build",
        "screen",
        {"name": "loop", "times": 2, "stages": ["inherit", "train"]},
        "prune",
        "quantize",
        "measure",
    ]
    with pytest.raises(InvalidInput, match="inherit before train: inherit needs 'fresh', which train ends"):
        check_pipeline(stages_from(stages))
    once = cast("dict[str, Any]", stages[2]) | {"times": 1}
    check_pipeline(stages_from([*stages[:2], once, *stages[3:]]))


def test_the_default_is_written_out_and_read_back() -> None:
    ours = tiny_spec()
    assert [stage["name"] for stage in ours.to_dict()["pipeline"]] == PIPELINE
    assert ExperimentSpec.parse(ours.to_dict()) == ours
    composed = spec(LOTTERY)
    assert ExperimentSpec.parse(composed.to_dict()) == composed


def test_a_stage_that_is_not_here_is_kept_but_not_run() -> None:
    ours = spec(["build", {"name": "polish", "grain": 3}])
    assert ExperimentSpec.parse(ours.to_dict()) == ours
    assert ours.to_dict()["pipeline"][1] == {"name": "polish", "version": 1, "grain": 3}
    with pytest.raises(InvalidSpec, match=r"pipeline\.1 = 'polish': known: build"):
        Problem.of(ours, tiny_data(ours).info)
