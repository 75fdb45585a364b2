"""Studies: spacings, the order of trials, what starts from what, and a whole study on this machine."""

import math
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support_trials import tiny_data

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.objectives import Objectives
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.problem import Problem
from sparsemod.records import TrialState
from sparsemod.sources.base import Source, SourceContext
from sparsemod.sources.observation import Observation
from sparsemod.sources.spacing import Spacing
from sparsemod.sources.study import StudyConfig
from sparsemod.space.parameters import Integer
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec

FALLING: Any = ({"type": "manual", "values": (0.5, 0.25)},)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ({"type": "geometric", "intervals": 3, "max": 0.8, "min": 0.2}, (0.8, 0.4, 0.2)),
        ({"type": "linear", "intervals": 3, "max": 0.9, "min": 0.1}, (0.9, 0.5, 0.1)),
        ({"type": "cubic", "intervals": 3, "max": 0.9, "min": 0.1}, (0.9, 0.2, 0.1)),
        ({"type": "harmonic", "intervals": 1, "min": 0.25}, (1 / 2, 1 / 3, 1 / 4, 1 / 5)),
        ({"type": "harmonic2", "intervals": 2, "max": 0.8, "min": 0.2}, (0.8, 0.2)),
        ({"type": "manual", "values": (0.3, 0.2)}, (0.3, 0.2)),
        ({"type": "linear", "intervals": 1, "max": 0.7}, (0.7,)),
    ],
)
def test_spacings(spacing: dict[str, Any], expected: tuple[float, ...]) -> None:
    assert Spacing(**spacing).ratios() == pytest.approx(expected)


def test_harmonic_reaches_a_half_after_the_intervals() -> None:
    ratios = Spacing(type="harmonic", intervals=4, min=0.1).ratios()
    assert ratios[3] == pytest.approx(0.5) and ratios[-1] <= 0.1 <= ratios[-2]
    assert all(math.isclose(r, (i + 2) ** -(math.log(2) / math.log(5))) for i, r in enumerate(ratios))


def test_only_some_ratios_are_retrained() -> None:
    config = StudyConfig(
        methods=("magnitude",), spacing=({"type": "linear", "intervals": 6, "max": 0.9, "min": 0.4},), retrain_iterations=3
    )  # fmt: skip
    assert config.ratios() == pytest.approx((0.8, 0.6, 0.4))


def study(**settings: Any) -> Source:
    config = StudyConfig(**{"methods": ("magnitude", "svd"), "spacing": FALLING, **settings})
    space = Space([Integer("layers", 1, 2), *config.parameters().values()])
    return config.create(
        SourceContext(None, space, Objectives(("error",), {"error": 1.0}, {}), lambda values: {})
    )


def walk(source: Source, batch: int = 1, broken: int | None = None) -> list[Observation]:
    seen: list[Observation] = []
    while source.done(seen) is None:
        found = list(source.next(seen, batch))
        assert found
        for item in found:
            index = len(seen)
            state = TrialState.FAILED if index == broken or item.error else TrialState.COMPLETED
            seen.append(Observation(index, item.candidate, state))
    return seen


def told(observations: list[Observation]) -> list[tuple[Any, ...]]:
    return [
        (o.candidate.parameters["pruning_method"], o.candidate.parameters["sparsity"], o.candidate.parent)
        for o in observations
    ]


def test_every_ratio_starts_from_the_reference() -> None:
    assert told(walk(study())) == [
        ("none", 0.0, None), ("magnitude", 0.5, 0), ("magnitude", 0.75, 0), ("svd", 0.5, 0), ("svd", 0.75, 0),
    ]  # fmt: skip


def test_a_cascade_starts_from_the_network_before() -> None:
    found = told(walk(study(mode="cascade", nets=2, repetitions=2, methods=("magnitude",))))
    assert sorted(found[2:], key=str) == sorted(
        [("magnitude", 0.5, 0)] * 2 + [("magnitude", 0.5, 1)] * 2 + [("magnitude", 0.75, i) for i, f in enumerate(found) if f[1] == 0.5],
        key=str,
    )  # fmt: skip
    assert len(found) == 2 + 2 * 2 * 2


def test_only_the_references_are_trained() -> None:
    assert told(walk(study(mode="train", nets=3))) == [("none", 0.0, None)] * 3


@pytest.mark.parametrize("mode", ["retrain", "cascade"])
def test_an_interrupted_study_goes_on_the_same_in_batches(mode: str) -> None:
    source = study(mode=mode, nets=2, repetitions=2)
    whole = walk(source)
    for cut in range(len(whole)):
        rest = source.next(whole[:cut], 1)
        assert rest[0].candidate == whole[cut].candidate
    assert sorted(told(walk(source, batch=3)), key=str) != [] and len(walk(source, batch=3)) == len(whole)


def test_networks_behind_a_failed_one_fail_with_the_reason() -> None:
    source = study(mode="cascade")
    whole, seen = walk(source), walk(source, broken=1)
    assert [o.candidate for o in seen] == [o.candidate for o in whole], (
        "the order does not depend on failures"
    )
    assert [o.state for o in seen].count(TrialState.FAILED) == 2
    assert "2 of which failed" in str(source.done(seen))
    behind = next(s for s in source.next(seen[:2], 1) if s.error)
    assert behind.candidate.parent == 1 and "trial 1, from which this network starts" in str(behind.error)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["magnitud"]}, r"source\.methods = 'magnitud': known: .*did you mean magnitude"),
        ({"methods": []}, r"source\.methods = \[\]: at least 1 item$"),
        ({"methods": ["svd", "none"]}, r"source\.methods = 'none': methods that prune"),
        (
            {"methods": ["svd", "lottery_ticket"]},
            r"source\.methods = 'lottery_ticket': methods with the key sparsity: alds",
        ),
        ({"methods": ["svd"], "retrain_iterations": 0}, r"source\.retrain_iterations = 0: -1, or 1 to 5"),
        ({"methods": ["svd"], "retrain_iterations": 9}, r"source\.retrain_iterations = 9: -1, or 1 to 5"),
        ({"methods": ["svd"], "spacing": [{"type": "manual", "values": [1.5]}]}, r"above 0 and at most 1$"),
        ({"methods": ["svd", "svd"]}, r"each method once"),
        (
            {"methods": ["magnitude", "svd"], "mode": "cascade-rewind"},
            r"source\.methods = 'svd': methods that keep the layers",
        ),
        (
            {"methods": ["magnitude"], "mode": "cascade-rewind", "epochs": 2, "start_epoch": 3},
            r"source\.start_epoch = 3: at most 2",
        ),
        ({"methods": ["svd"], "retraining": {"learning_rat": 1}}, r"source\.retraining\.learning_rat = 1"),
        (
            {"methods": ["svd"], "retraining": {"learning_rate": -1}},
            r"source\.retraining\.learning_rate = -1",
        ),
        ({"methods": ["svd"], "spacing": [{"type": "manual", "values": [0.2, 0.4]}]}, r"shares that fall"),
        ({"methods": ["svd"], "spacing": [{"type": "manual"}]}, r"manual needs values"),
        (
            {"methods": ["svd"], "spacing": [{"type": "linear", "min": 0.9, "max": 0.5}]},
            r"min must be at most max",
        ),
        ({"methods": ["svd"], "spacing": [{"type": "linear", "intervalls": 5}]}, r"intervalls"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidSpec, InvalidInput), match=message):
        spec(**settings)


def spec(**settings: Any) -> ExperimentSpec:
    return ExperimentSpec.parse(
        {
            "name": "study",
            "dataset": {"name": "digits", "limit": 400},
            "network": {"family": "cnn", "options": {"max_filters": 8}},
            "pruning": {"method": "magnitude", "schedule": {"name": "one-shot", "begin": 0.0}},
            "training": {"batch_size": 64},
            "measure": {"device": "model"},
            "source": {"name": "study", **settings},
        }
    )


def test_a_study_runs_and_continues_on_this_machine(tmp_path: Path) -> None:
    told_spec = spec(
        methods=["random_weights", "FilterThresNet", "SVDNet"],
        mode="cascade",
        spacing=[{"type": "manual", "values": [0.7, 0.4]}],
        epochs=2,
        retrain_epochs=1,
    )
    run = LocalRun(told_spec, tmp_path / "whole")
    run.run()
    assert [t.result.state for t in run.trials] == [TrialState.COMPLETED] * 7
    weights = run.trials[0].result.values()["parameters"]
    for trial in run.trials[1:]:
        values, sparsity = trial.result.values(), float(trial.candidate.parameters["sparsity"])
        assert values["nonzeros"] <= (1 - sparsity + 0.06) * weights
        parent = run.trials[trial.candidate.parent or 0]
        assert trial.result.epochs == parent.result.epochs + 1
    first, second = (
        load_file(run.artifact(t.record.artifact("weights").digest))  # type: ignore[union-attr]
        for t in run.trials
        if t.candidate.parameters["pruning_method"] == "random_weights"
    )
    for name, tensor in first.items():
        if tensor.dim() > 1:
            assert bool((second[name][tensor == 0] == 0).all()), "a cascade prunes on"
    # interrupted after three trials
    again = LocalRun(told_spec, tmp_path / "again")
    lines = (tmp_path / "whole" / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "again" / "trials.jsonl").write_text("".join(lines[:3]))
    for path in (tmp_path / "whole" / "artifacts").iterdir():
        (tmp_path / "again" / "artifacts" / path.name).write_bytes(path.read_bytes())
    again = LocalRun(told_spec, tmp_path / "again")
    again.run()
    assert [t.result.values() for t in again.trials] == [t.result.values() for t in run.trials]
    assert Problem.of(told_spec, tiny_data(told_spec).info).spec == told_spec


@pytest.mark.long
def test_weights_and_learning_rate_are_rewound(tmp_path: Path) -> None:
    told_spec = spec(
        methods=["magnitude", "FilterThresNet"],
        mode="cascade-rewind",
        spacing=[{"type": "manual", "values": [0.7, 0.4]}],
        epochs=2,
        start_epoch=1,
        retrain_epochs=1,
        retraining={"learning_rate": 1e-30, "optimizer": {"name": "sgd", "momentum": 0.0}},
    )
    run = LocalRun(told_spec, tmp_path)
    run.run()
    assert [t.result.state for t in run.trials] == [TrialState.COMPLETED] * 5
    kept = [t.record.artifact("rewind") for t in run.trials]
    assert len({artifact.digest for artifact in kept if artifact}) == 1 and all(kept), (
        "handed down the cascade"
    )
    early = load_file(run.artifact(kept[0].digest))  # type: ignore[union-attr]
    trained = load_file(run.artifact(run.trials[0].record.artifact("weights").digest))  # type: ignore[union-attr]
    name = next(n for n, t in trained.items() if t.dim() == 4)
    assert not bool((early[name] == trained[name]).all())
    for trial in run.trials[1:]:
        after = load_file(run.artifact(trial.record.artifact("weights").digest))  # type: ignore[union-attr]
        weights = [n for n, tensor in trained.items() if tensor.dim() > 1]
        stay = {n: after[n] != 0 for n in weights}
        assert 0 < sum(int(s.sum()) for s in stay.values()) < sum(s.numel() for s in stay.values())
        # The learning rate is too small to change a weight: those that stay are the early ones.
        assert all(bool((after[n][stay[n]] == early[n][stay[n]]).all()) for n in weights)


@pytest.mark.parametrize(("start", "factor"), [(0, 1.0), (1, 0.75), (2, 0.25)])
def test_retraining_continues_the_schedule(start: int, factor: float, tmp_path: Path) -> None:
    """Half a cosine over start + epochs epochs: 1, 0.75 after a third, 0.5 after a half."""
    settings = {"epochs": 1, "retrain_epochs": {0: 1, 1: 2, 2: 1}[start], "start_epoch": start}
    run = LocalRun(
        spec(methods=["magnitude"], spacing=[{"type": "manual", "values": [0.5]}], **settings), tmp_path
    )
    run.run()
    rate = run.trials[1].result.curve[0].learning_rate
    assert rate == pytest.approx(3e-3 * factor)
