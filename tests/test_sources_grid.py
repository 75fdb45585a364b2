"""The grid: products of listed values with repetitions, rebuilt from stored trials; and what every source must do."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sparsemod.errors import BuildError, InvalidInput, InvalidSpec, UnknownName
from sparsemod.objectives import Objectives
from sparsemod.pipeline.problem import Problem
from sparsemod.records import Candidate, DataInfo, FailureKind, TrialState, Value
from sparsemod.sources.base import SOURCES, Source, SourceContext
from sparsemod.sources.grid import GridConfig
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.space.parameters import Categorical, Condition, Constraint, Integer, Real
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import loads

SPACE = Space(
    [
        Integer("layers", 1, 2),
        Integer("wide", 4, 64, when=(Condition(parameter="layers", values=(2,)),)),
        Real("rate", 0.001, 0.1),
        Categorical("head", ("flat", "mean")),
    ]
)
MINIMAL: dict[str, Any] = {"dataset": {"name": "digits"}, "network": {"family": "mlp"}}


def costs(values: Mapping[str, Value]) -> dict[str, float]:
    if values.get("wide") == 64:
        raise BuildError("too wide")
    return {"model_size": 10.0 * float(values["layers"])}


def grid(space: Space = SPACE, budget: float = 1000.0, **settings: Any) -> Source:
    config = GridConfig(**settings)
    config.check(space)
    objectives = Objectives(
        ("error", "model_size"), {"error": 1.0, "model_size": 1000.0}, {"model_size": budget}
    )
    return config.create(SourceContext(None, space, objectives, costs))


def record(observations: list[Observation], found: list[Suggestion], state: TrialState) -> None:
    for item in found:
        miss = TrialState.FAILED if item.error else TrialState.INFEASIBLE
        observations.append(
            Observation(len(observations), item.candidate, state if item.feasible else miss, failure=FailureKind.INVALID if item.error else None)
        )  # fmt: skip


def walk(source: Source, batch: int = 2) -> list[Observation]:
    seen: list[Observation] = []
    while source.done(seen) is None:
        found = list(source.next(seen, batch))
        assert found
        record(seen, found, TrialState.COMPLETED)
    return seen


def test_every_combination_comes_once_per_repetition():
    seen = walk(grid(values={"layers": (1, 2), "rate": (0.01, 0.1)}, repetitions=3))
    found = [(o.candidate.parameters["layers"], o.candidate.parameters["rate"]) for o in seen]
    once = [(1, 0.01), (1, 0.1), (2, 0.01), (2, 0.1)]
    assert found == once * 3
    assert {o.candidate.parameters["head"] for o in seen} == {SPACE.parameter("head").default}
    assert {(o.candidate.origin, o.candidate.round) for o in seen} == {("grid", "grid")}


def test_a_new_grid_continues_from_stored_trials_in_any_state():
    settings: Any = {"values": {"layers": (1, 2), "rate": (0.01, 0.1)}, "repetitions": 2}
    whole = [o.candidate for o in walk(grid(**settings))]
    for cut in range(len(whole)):
        states = [TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED, TrialState.RUNNING]
        seen = [Observation(i, c, states[i % 4]) for i, c in enumerate(whole[:cut])]
        by_hand = Observation(cut, whole[0].model_copy(update={"round": "manual"}), TrialState.COMPLETED)
        rest = list(grid(**settings).next([*seen, by_hand], 100))
        assert [s.candidate for s in rest] == whole[cut:]
        assert grid(**settings).done([*seen, by_hand]) is None


def test_it_waits_for_pending_trials_and_then_is_complete():
    source = grid(values={"rate": (0.01, 0.1)}, repetitions=2)
    seen: list[Observation] = []
    record(seen, list(source.next(seen, 4)), TrialState.RUNNING)
    assert list(source.next(seen, 1)) == [] and source.done(seen) is None
    over = [Observation(o.index, o.candidate, TrialState.COMPLETED) for o in seen]
    assert source.done(over) == "the grid is complete: 2 candidates, 2 repetitions"


def test_values_that_make_no_difference_make_no_trial():
    source = grid(values={"layers": (1, 2), "wide": (8, 16)})
    seen = walk(source)
    assert [o.candidate.parameters.get("wide") for o in seen] == [None, 8, 16]
    assert "1 of 4 combinations are equal to another one" in str(source.done(seen))
    narrow = Space(
        [Integer("a", 1, 4), Integer("b", 1, 4)], [Constraint(coefficients={"a": 1, "b": 1}, bound=4)]
    )
    context = SourceContext(None, narrow, Objectives(("error",), {"error": 1.0}, {}), lambda values: {})
    found = GridConfig(values={"a": (1, 3), "b": (1, 3)}).create(context).next([], 9)
    assert [tuple(s.candidate.parameters.values()) for s in found] == [(1, 1), (1, 3), (3, 1)]


def test_misses_use_up_their_trials():
    seen = walk(grid(values={"layers": (1, 2), "wide": (8, 64)}, repetitions=2, budget=15.0))
    assert Counter(o.state for o in seen) == {
        TrialState.COMPLETED: 2,
        TrialState.INFEASIBLE: 2,
        TrialState.FAILED: 2,
    }
    [part] = GridConfig(values={"layers": (1, 2), "wide": (8, 64)}, repetitions=2).plan()
    assert part.misses_count and part.trials == 8


def test_more_trials_are_whole_repetitions():
    config = GridConfig(values={"layers": (1, 2)}, repetitions=2)
    assert config.extended({"grid": 4}).repetitions == 4
    for more in ({"grid": 3}, {"grid": -2}, {"r1": 2}):
        with pytest.raises(InvalidInput, match="a multiple of 2"):
            config.extended(more)


def test_samples_for_a_dry_run_are_the_grids():
    config = GridConfig(values={"layers": (1, 2), "rate": (0.01,)})
    samples = config.samples(SPACE, np.random.default_rng(0))
    found = [next(samples) for _ in range(6)]
    assert {values["rate"] for values in found} == {0.01}
    assert [sorted(str(v["layers"]) for v in found[i : i + 2]) for i in (0, 2, 4)] == [["1", "2"]] * 3


@pytest.mark.parametrize(
    ("source", "field", "allowed"),
    [
        ({"name": "grid", "values": {"width": [1]}}, "source.values.width", "a parameter of the space: "),
        ({"name": "grid", "values": {"layers": [1, 99]}}, "source.values.layers", "from "),
        ({"name": "grid", "values": {"learning_rate": [-1.0]}}, "source.values.learning_rate", "greater than 0"),
        ({"name": "grid", "values": {"sparsity": [0.5]}}, "source.values.sparsity", "needs pruning.method"),
        ({"name": "grid", "values": {"layers": []}}, "source.values.layers", "at least 1 item"),
        ({"name": "grid", "values": {"layers": [1, 1]}}, "source.values.layers", "each value once"),
        ({"name": "grid", "values": {"layers": [1, 2]}, "repetitions": 0}, "source.repetitions", "greater than"),
        ({"name": "grid", "rounds": {}}, "source.rounds", "unknown key; known here: batch_size, epochs"),
        ({"name": "grib"}, "source.name", "known: grid, search"),
        ({"repetitions": 2}, "source.name", "one of grid, search"),
        ("grid", "source", "a mapping with `name`"),
    ],
)  # fmt: skip
def test_mistakes_name_the_field_of_the_source(source: Any, field: str, allowed: str) -> None:
    with pytest.raises((InvalidSpec, UnknownName)) as caught:
        spec = ExperimentSpec.parse({**MINIMAL, "source": source})
        Problem.of(spec, DataInfo(name="digits", shape=(1, 8, 8), classes=10))
    assert caught.value.field == field
    assert allowed in str(caught.value)


def test_a_pipeline_parameter_of_the_grid_may_be_absent_from_the_space():
    spec = ExperimentSpec.parse(
        {**MINIMAL, "source": {"name": "grid", "values": {"learning_rate": [0.01, 0.1]}}}
    )
    problem = Problem.of(spec, DataInfo(name="digits", shape=(1, 8, 8), classes=10))
    rates = [c["learning_rate"] for c in GridConfig(**spec.source.model_dump()).candidates(problem.space)]
    assert rates == [0.01, 0.1]


def test_the_earlier_form_of_a_spec_means_the_search_and_keeps_its_lines():
    old = "dataset: {name: digits}\nnetwork: {family: mlp}\nrounds:\n  r1: {trials: 3, epochs: 1}\nsearch: {batch_size: 4}\n"
    spec = loads(old)
    assert spec.to_dict()["source"] == {
        "name": "search", "version": 1, "batch_size": 4, "acquisition": "ehvi", "max_draws": 500, "in_step": False, "stop": None, "earlier": [],
        "rounds": {"r1": {"trials": 3, "epochs": 1}, "r2": {"trials": 20, "epochs": 5}, "r3": {"trials": 20, "epochs": 3},
                   "repeats": {"trials": 0, "confidence": 0.9, "seeds": 3}},
    }  # fmt: skip
    with pytest.raises(InvalidSpec, match=r"text:4: source\.rounds\.r1\.trials = -3"):
        loads(old.replace("trials: 3", "trials: -3"))
    with pytest.raises(InvalidSpec, match=r"text:3: rounds = .*left out: `source` holds"):
        loads(old + "source: {name: grid}\n")


def test_a_source_that_is_not_here_is_kept_but_not_run():
    data = {**MINIMAL, "source": {"name": "spiral", "turns": [1, 2]}}
    spec = ExperimentSpec.parse(data)
    assert ExperimentSpec.parse(spec.to_dict()) == spec and spec.to_dict()["source"]["turns"] == [1, 2]
    assert "spiral" not in SOURCES.names()
    with pytest.raises(InvalidInput, match=r"source\.name = 'spiral': known: grid, search"):
        Problem.of(spec, DataInfo(name="digits", shape=(1, 8, 8), classes=10))


def test_a_label_is_a_word():
    for label in ("", "<b>", "Round 1", "x" * 21):
        with pytest.raises(ValueError, match="round"):
            Candidate(parameters={}, origin="grid", round=label)
