"""The order and the dose of pruning and distillation as searched parameters."""

from pathlib import Path
from typing import Any

import pytest

from sparsemod.errors import InvalidSpec
from sparsemod.pipeline.problem import Problem
from sparsemod.records import DataInfo
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import load

INFO = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
TEACHER = {"network": "resnet-8", "alpha": 0.5}


def spec(**changes: Any) -> ExperimentSpec:
    data: dict[str, Any] = {"dataset": {"name": "digits"}, "network": {"family": "mlp"}}
    return ExperimentSpec.parse({**data, **changes})


def test_a_candidate_says_when_it_is_pruned_and_how_much_it_learns_from_the_teacher() -> None:
    of = spec(
        space={"prune_begin": {"low": 0.0, "high": 0.9}, "teacher_alpha": [0.0, 0.7]},
        training={"teacher": TEACHER},
        pruning={"method": "magnitude", "sparsity": 0.6, "schedule": {"name": "one-shot"}},
    )
    problem = Problem.of(of, INFO)
    values = Space(problem.space.parameters).complete({"prune_begin": 0.25, "teacher_alpha": 0.7})
    pruning, training = problem.pruning(values), problem.training(values)
    assert (pruning.model_dump()["schedule"]["name"], pruning.model_dump()["schedule"]["begin"]) == (
        "one-shot",
        0.25,
    )
    assert pruning.model_dump()["sparsity"] == 0.6
    assert training.teacher is not None and (training.teacher.alpha, training.teacher.network) == (
        0.7,
        "resnet-8",
    )
    assert training.schedule == of.training.schedule
    assert not {"prune_begin", "teacher_alpha"} & set(problem.architecture(values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": {"teacher_alpha": [0.0, 0.5]}},
            "space.teacher_alpha = 'searched': needs training.teacher",
        ),
        (
            {"space": {"teacher_alpha": [0.0, 1.5]}, "training": {"teacher": TEACHER}},
            "space.teacher_alpha = 1.5: .*less than or equal to 1",
        ),
        (
            {"space": {"prune_begin": {"low": 0.0, "high": 0.8}}, "pruning": {"method": "magnitude"}},
            "space.prune_begin = 0.8: .*begin must be before end",
        ),
        (
            {"space": {"prune_begin": [0.1, 0.2]}, "pruning": {"method": "none"}},
            "space.prune_begin = 'searched': needs pruning.method .*magnitude",
        ),
    ],
)
def test_what_does_not_fit_names_the_parameter(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        spec(**changes)


def test_the_example_compares_every_order_and_dose() -> None:
    of = load(Path(__file__).parents[1] / "examples" / "order_and_dose" / "order_and_dose.yaml")
    (part,) = of.source.plan()
    assert part.trials == 3 * 2 * 2 * 3
    assert Problem.of(of, INFO).space.parameter("prune_begin")
