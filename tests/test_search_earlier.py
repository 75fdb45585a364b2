"""A search that starts with the trials of earlier experiments on the same data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_search import SPACE, costs, error, finish, loop, spec

from service.cli import main
from service.cli.earlier import with_experiments
from sparsemod.errors import InvalidInput
from sparsemod.records import Candidate, Measurement, TrialRecord, TrialState
from sparsemod.search import sobol
from sparsemod.search.earlier import MOST, with_earlier
from sparsemod.search.history import History
from sparsemod.search.settings import search_config
from sparsemod.search.strategy import Search
from sparsemod.sources.observation import Suggestion
from sparsemod.space.space import Integer, Space
from sparsemod.spec.experiment import ExperimentSpec

NO_SOBOL = {
    "r1": {"trials": 0, "epochs": 4},
    "r2": {"trials": 8, "epochs": 4},
    "r3": {"trials": 0, "epochs": 2},
}


def cli(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    assert end.value.code == code, captured.err
    return captured.out


def trials(count: int, shift: float = 0.0, state: TrialState = TrialState.COMPLETED) -> list[TrialRecord]:
    """Trials of an earlier experiment: Sobol points, with errors that are `shift` higher."""
    return [
        TrialRecord(
            index=index,
            state=state,
            candidate=Candidate(parameters=parameters, origin="sobol", round="r1"),
            epochs=4,
            seed=index,
            trained_epochs=4.0,
            measurements=(
                Measurement(
                    metric="error", value=min(1.0, error(parameters) + shift), unit="fraction",
                    method="int8", target="interpreter", split="validation",
                ),
            ),
        )
        for index, parameters in enumerate(sobol.candidates(SPACE, 77, count))
    ]  # fmt: skip


def started(count: int, shift: float = 0.0, **changes: Any) -> ExperimentSpec:
    return with_earlier(spec(**changes), spec(), trials(count, shift), "--from", "first")


def test_a_search_with_earlier_trials_is_ahead_at_once() -> None:
    """The errors of the earlier experiment are 0.05 higher; six trials."""
    informed = started(30, 0.05, rounds=NO_SOBOL, seed=1)
    volume = informed.objectives_in_force().hypervolume
    first = volume([o.values or {} for o in loop(Search(informed, SPACE, costs), most=6)])
    others = [
        volume([o.values or {} for o in loop(Search(spec(seed=s), SPACE, costs), most=6)]) for s in range(5)
    ]
    assert first > max(others)


def test_the_model_chooses_from_the_first_trial_on() -> None:
    of = started(12, rounds=NO_SOBOL)
    (first,) = Search(of, SPACE, costs).next([], 1)
    assert first.candidate.origin == "gp"
    (without,) = Search(spec(rounds=NO_SOBOL), SPACE, costs).next([], 1)
    assert without.candidate.origin == "sobol"


def test_earlier_trials_are_on_no_front_and_may_be_trained_again() -> None:
    of = started(12, rounds=NO_SOBOL)
    history = History(of, SPACE, [])
    assert len(history.earlier) == 12 and history.front == [] and history.seen == set()
    assert search_config(of).rounds.r2.trials == history.rounds()[0].remaining


def test_the_model_tells_the_experiments_apart() -> None:
    """Errors of the earlier experiment that are all 0.3 higher do not spoil the model of the own ones."""
    from sparsemod.quality import error_of
    from sparsemod.search import gp
    from sparsemod.search.acquire import Chooser
    from sparsemod.search.costs import CostBook

    of = started(40, 0.3, rounds=NO_SOBOL)
    seen = []
    for parameters in sobol.candidates(SPACE, 5, 12):
        candidate = Candidate(parameters=parameters, origin="gp", round="r2")
        seen.append(finish(len(seen), Suggestion(candidate, 4, costs(parameters))))
    chooser = Chooser(History(of, SPACE, seen), SPACE, CostBook(SPACE, costs), gp.Fitter(), 24)
    others = list(sobol.candidates(SPACE, 6, 50))
    assert chooser._model is not None
    mean, _ = chooser._model.predict(chooser._features(others, [4.0] * 50))
    off = error_of(mean) - np.array([error(p) for p in others])
    assert abs(float(np.mean(off))) < 0.1


def test_networks_outside_the_space_are_left_out() -> None:
    parameters = [{**p} for p in sobol.candidates(SPACE, 77, 12)]
    most = sorted(int(p["filters"]) for p in parameters)[5]
    narrow = SPACE.override({"filters": Integer("filters", 2, most, log=True)})
    of = started(12)
    known = History(of, narrow, []).earlier
    assert 0 < len(known) < 12 and all(one.parameters["filters"] <= most for one in known)
    with pytest.raises(InvalidInput, match=r"source.earlier = '12 trials'"):
        search_config(of).check(Space([Integer("filters", 65, 66)]))


def test_constants_of_the_earlier_spec_are_known() -> None:
    earlier = spec(training={"learning_rate": 0.02})
    rows = [
        row.model_copy(
            update={
                "candidate": row.candidate.model_copy(
                    update={
                        "parameters": {
                            k: v for k, v in row.candidate.parameters.items() if k != "learning_rate"
                        }
                    }
                )
            }
        )
        for row in trials(4)
    ]
    of = with_earlier(spec(), earlier, rows, "--from", "first")
    assert [one.parameters["learning_rate"] for one in History(of, SPACE, []).earlier] == [0.02] * 4


def test_many_trials_are_thinned_and_the_best_stay() -> None:
    rows = trials(MOST + 60)
    kept = search_config(with_earlier(spec(), spec(), rows, "--from", "first")).earlier
    assert len(kept) == MOST
    errors = sorted(row.values()["error"] for row in rows)
    assert sorted(one.value for one in kept)[: MOST // 2] == errors[: MOST // 2]
    assert max(one.value for one in kept) == errors[-1]


def test_what_does_not_fit_names_the_option() -> None:
    other = spec(dataset={"name": "iris"})
    with pytest.raises(InvalidInput, match=r"--from = 'first': .*data set digits; this one has iris"):
        with_earlier(spec(), other, trials(4), "--from", "first")
    with pytest.raises(InvalidInput, match=r"--from = 'first': .*completed trial"):
        with_earlier(spec(), spec(), trials(4, state=TrialState.STOPPED), "--from", "first")
    grid = ExperimentSpec.parse(
        {
            "dataset": {"name": "digits"},
            "network": {"family": "cnn"},
            "source": {"name": "grid", "values": {"learning_rate": [0.1]}},
        }
    )
    with pytest.raises(InvalidInput, match=r"source.name"):
        with_earlier(grid, spec(), trials(4), "--from", "first")
    with pytest.raises(InvalidInput, match="earlier"):
        started(4, search={"acquisition": "ax"})


def test_a_run_starts_from_the_folder_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
name: first
dataset: {name: digits, limit: 300}
network: {family: mlp, options: {max_width: 16, max_layers: 1}}
rounds: {r1: {trials: 4, epochs: 1}, r2: {trials: 0, epochs: 1}, r3: {trials: 0, epochs: 1}}
objectives: [error, model_size]
measure: {device: model}
"""
    (tmp_path / "first.yaml").write_text(text)
    later = text.replace("r1: {trials: 4", "r1: {trials: 0").replace("r2: {trials: 0", "r2: {trials: 1")
    (tmp_path / "later.yaml").write_text(later)
    first, second = str(tmp_path / "one"), str(tmp_path / "two")
    cli(capsys, "run", str(tmp_path / "first.yaml"), "--out", first)
    found = cli(capsys, "run", str(tmp_path / "later.yaml"), "--out", second, "--from", first)
    assert "r2" in found and "all rounds are complete" in found
    from sparsemod.pipeline.local_run import LocalFolder

    stored = LocalFolder(Path(second))
    assert len(search_config(stored.spec).earlier) == 4
    assert stored.trials[0].record.candidate.origin == "gp"
    cli(capsys, "run", second)
    cli(capsys, "run", second, "--from", first, code=2)
    with pytest.raises(InvalidInput, match=r"^--from = "):
        with_experiments(stored.spec, [str(tmp_path / "none")], "")
