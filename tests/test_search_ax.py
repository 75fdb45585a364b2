"""The way to Ax and back: space, experiment, JSON, and its acquisition as a fallback."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig
from ax.generators.random.sobol import SobolGenerator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support_search import SPACE, costs, loop, pend, spec

from sparsemod.records import FailureKind, TrialState, Value
from sparsemod.search import ax_acquisition, sobol
from sparsemod.search.ax_experiment import client, quiet, snapshot
from sparsemod.search.ax_space import constraints, from_ax, parameters, to_ax
from sparsemod.search.strategy import Search
from sparsemod.space.parameters import Constraint
from sparsemod.space.space import Categorical, Fixed, Integer, Real, Space


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_candidates_survive_the_way_to_ax_and_back(seed: int) -> None:
    values = SPACE.sample(np.random.default_rng(seed))
    sent = to_ax(SPACE, values)
    assert set(sent) == set(SPACE.names)
    assert SPACE.key(from_ax(SPACE, sent)) == SPACE.key(values)


def test_odd_parameters() -> None:
    space = Space(
        [Categorical("mixed", (1, "auto", True)), Fixed("bits", 8), Integer("a", 1, 9), Real("b", 0.1, 1.0)],
        [Constraint(coefficients={"a": 1.0, "b": 2.0}, bound=5.0)],
    )
    assert [p.name for p in parameters(space)] == ["mixed", "a", "b"]
    assert constraints(space) == ["1.0 * a + 2.0 * b <= 5.0"]
    for value in (1, "auto", True):
        back = from_ax(space, to_ax(space, {"mixed": value, "bits": 8, "a": 2, "b": 0.5}))
        assert back == {"mixed": value, "bits": 8, "a": 2, "b": 0.5} and type(back["mixed"]) is type(value)


def test_whole_numbers_with_a_step_are_ordered_choices() -> None:
    space = Space(
        [Integer("units", 4, 16, step=4), Integer("taps", 8, 24, log=True, step=8), Integer("n", 1, 9)],
        [Constraint(coefficients={"units": 1.0, "n": 1.0}, bound=15.0)],
    )
    units, taps, n = parameters(space)
    assert isinstance(units, ChoiceParameterConfig) and isinstance(taps, ChoiceParameterConfig)
    assert (units.values, units.is_ordered, units.parameter_type) == ([4, 8, 12, 16], True, "int")
    assert taps.values == [8, 16, 24] and not isinstance(n, ChoiceParameterConfig)
    assert constraints(space) == []
    many = Space([Integer("many", 0, 10_000, step=5)])
    assert not isinstance(parameters(many)[0], ChoiceParameterConfig) and constraints(many) == []
    assert from_ax(many, {"many": 7}) == {"many": 5} and from_ax(many, {"many": 9_999}) == {"many": 10_000}
    values = {"units": 12, "taps": 24, "n": 2}
    assert from_ax(space, to_ax(space, values)) == values
    opened = client(spec(("error", "model_size")), space, [pend(0, values)])._experiment
    with quiet():
        assert opened.trials[0].arms[0].parameters == values


def test_sobol_points_are_ax_s_own_at_any_place() -> None:
    generator = SobolGenerator(seed=7, init_position=5, deduplicate=False)
    generator.init_engine(4)
    theirs = generator._gen_samples(6, 4, np.array([[0.0, 1.0]] * 4))
    assert_array_equal(sobol.points(4, 7, 5, 6), theirs)
    assert_array_equal(sobol.points(4, 7, 8, 3), theirs[3:])


def test_the_snapshot_opens_in_ax(tmp_path: Path) -> None:
    of = spec(budgets={"model_size": 3000, "macs": 1e9}, name="opens in Ax")
    base = loop(Search(spec(budgets={"model_size": 3000}), SPACE, costs), most=14)
    base = [replace(o, values={**(o.values or {}), "macs": 1e6}) for o in base]
    completed = sum(o.state is TrialState.COMPLETED for o in base)
    more = [pend(14, SPACE.sample(np.random.default_rng(1)))]
    for kind in (FailureKind.INVALID, FailureKind.FAULT):
        other = pend(15 + len(more), SPACE.sample(np.random.default_rng(len(more) + 5)))
        more.append(replace(other, state=TrialState.FAILED, failure=kind))
    text = snapshot(of, SPACE, [*base, *more])
    assert len(text) < 200_000 and json.loads(text)["_type"] == "Client"
    file = tmp_path / "experiment.json"
    file.write_text(text)
    with quiet():
        opened = Client.load_from_json_file(str(file))
        table = opened.summarize()
    assert len(table) == 17
    assert (table["trial_status"] == "COMPLETED").sum() == completed
    assert (table["trial_status"] == "RUNNING").sum() == 1
    done = table[table["trial_status"] == "COMPLETED"]
    assert done["error"].notna().all() and done["model_size"].le(3000).all()


def test_thresholds_are_the_reference_point() -> None:
    made = client(spec(), SPACE, [])
    config = made._experiment.optimization_config
    assert config is not None
    found = {t.metric_names[0]: t.bound for t in config.objective_thresholds}
    assert found == {"error": 1.0, "model_size": 20000.0, "working_memory": 6000.0, "latency": 60.0}


@pytest.mark.long
@pytest.mark.parametrize("reason", ["asked for", "unknown cost"])
def test_ax_s_acquisition_takes_round_two(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tiny space: Ax takes half a minute for the other one.
    space = Space([Integer("filters", 1, 30), Real("rate", 0.0, 1.0)])
    rounds = {
        "r1": {"trials": 4, "epochs": 1},
        "r2": {"trials": 3, "epochs": 1},
        "r3": {"trials": 0, "epochs": 1},
    }
    search = {"acquisition": "ax"} if reason == "asked for" else {}
    of = spec(("error", "model_size"), rounds=rounds, search=search)
    history = []
    for i in range(4):
        values = {"filters": 3 + 7 * i, "rate": (0.2, 0.9, 0.4, 0.6)[i]}
        result = {"error": 1.0 / (2 + i), "model_size": 300.0 * values["filters"]}
        history.append(replace(pend(i, values), state=TrialState.COMPLETED, values=result))

    def known(p: Mapping[str, Value]) -> dict[str, float]:
        return {"model_size": 300.0 * float(p["filters"])} if reason == "asked for" else {}

    answers: list[dict[str, Value]] = []
    ask = ax_acquisition.ask

    def listen(*given: Any) -> list[dict[str, Value]]:
        answers.extend(answer := ask(*given))
        return answer

    monkeypatch.setattr(ax_acquisition, "ask", listen)
    found = Search(of, space, known).next(history, 1)
    assert [s.candidate.parameters for s in found] == answers, "the suggestion is Ax's"
    assert [s.candidate.origin for s in found] == ["gp"]
    assert space.is_valid(found[0].candidate.parameters)
    again = Search(of, space, known).next(history, 1)
    assert space.key(again[0].candidate.parameters) == space.key(found[0].candidate.parameters)


def test_ax_learns_from_costs_over_a_budget() -> None:
    of = spec(budgets={"model_size": 3000})
    base = loop(Search(of, SPACE, costs), most=10)
    over = [o for o in base if o.state is TrialState.INFEASIBLE]
    assert over and len(over) < len(base)
    experiment = client(of, SPACE, base)._experiment
    with quiet(), torch.random.fork_rng(devices=[]):
        model = ax_acquisition.fitted(experiment)
    rows = model.get_training_data().observation_data["mean"]
    places = {t.run_metadata["sparsemod_index"]: t.arm.name for t in experiment.trials.values()}
    for one in over:
        row = rows.xs(places[one.index], level="arm_name").iloc[0]
        assert row["model_size"] == (one.values or {})["model_size"]


def test_the_lock_of_an_abandoned_build_is_removed(tmp_path, monkeypatch):
    import os
    import time

    from sparsemod.search.ax_acquisition import STALE_SECONDS, forget_abandoned_builds

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    locks = [tmp_path / name / "logei_fused_ext" / "lock" for name in ("py311_cpu", "py312_cpu")]
    for lock in locks:
        lock.parent.mkdir(parents=True)
        lock.touch()
    os.utime(locks[0], (0, time.time() - STALE_SECONDS - 1))
    forget_abandoned_builds()
    assert not locks[0].exists()
    assert locks[1].exists(), "somebody is building"
