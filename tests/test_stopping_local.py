"""The stopping rule in local runs: equal seeds, interruptions, the model of the search, trials that are continued."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support_search import SPACE, costs, loop, morphs
from support_search import spec as search_spec

from service.cli import main
from sparsemod.errors import Conflict, NotFound
from sparsemod.pipeline.dry_run import check
from sparsemod.pipeline.journal import Finished
from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.pipeline.reporter import Silent
from sparsemod.quality import logit
from sparsemod.records import StopDecision, TrialState
from sparsemod.search import gp
from sparsemod.search.history import History
from sparsemod.search.strategy import Search
from sparsemod.spec.experiment import ExperimentSpec

EPOCHS = 4


class Killed(BaseException):
    """The end of the process."""


class Watching(Silent):
    """Notes the epochs; the process ends after epoch `until`."""

    def __init__(self, until: int = 0) -> None:
        self.epochs: list[int] = []
        self._until = until

    def point(self, point: object) -> None:
        self.epochs.append(point.epoch)  # type: ignore[attr-defined]

    def should_stop(self) -> bool:
        if self._until and len(self.epochs) == self._until:
            raise Killed
        return False


def grid(rates: list[float], **changes: object) -> ExperimentSpec:
    """Equal networks on few samples. A rate of 1e-6 learns nothing."""
    return ExperimentSpec.parse(
        {
            "name": "stops", "dataset": {"name": "digits", "limit": 300}, "objectives": ["error", "model_size"],
            "network": {"family": "mlp", "options": {"max_layers": 1, "max_width": 16}},
            "space": {"layers": 1, "l1_width": 16, "dropout": 0.0},
            "source": {"name": "grid", "values": {"learning_rate": rates}, "epochs": EPOCHS},
            "stopping": {"name": "curves", "trials": 3, "probability": 0.2},
            **changes,
        }
    )  # fmt: skip


RATES = [0.03, 0.02, 0.025, 1e-6]
"""The fourth training cannot reach the others."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> LocalRun:
    run = LocalRun(grid(RATES), tmp_path_factory.mktemp("stops"))
    run.run()
    return run


def fates(run: LocalRun) -> list[tuple[TrialState, int, StopDecision | None]]:
    return [(t.result.state, len(t.result.curve), t.stopping) for t in run.trials]


def test_a_training_that_learns_nothing_is_stopped_with_its_reason(done: LocalRun) -> None:
    assert [state for state, *_ in fates(done)] == [TrialState.COMPLETED] * 3 + [TrialState.STOPPED]
    trial = done.trials[3]
    assert trial.stopping is not None and trial.stopping.epoch == len(trial.result.curve) == 2
    assert trial.result.seconds["train"] > 0.0, "the time of the stage that was stopped counts"
    assert trial.record.values()["model_size"] > 0.0 and "error" not in trial.record.values()
    table = (done.folder / "trials.csv").read_text().splitlines()
    assert "stopped by the rule curves: after epoch 2 of 4" in table[-1]
    short = json.loads((done.folder / "experiment.json").read_text())["trials"][3]
    assert short["stopped"].startswith("stopped by the rule curves")


def test_equal_seeds_stop_equal_trials_also_after_an_interruption(
    done: LocalRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsemod.pipeline import local_checkpoint

    monkeypatch.setattr(local_checkpoint, "SECONDS", 0.0)
    killed = LocalRun(grid(RATES), tmp_path)
    with pytest.raises(Killed):
        killed.run(on_start=lambda index, _: Watching(until=1) if index == 3 else None)
    again, watching = LocalRun(grid(RATES), tmp_path), Watching()
    again.run(on_start=lambda *_: watching)
    assert watching.epochs == [2]
    assert fates(again) == fates(done)


def test_a_stopped_trial_is_continued_from_its_checkpoint(
    done: LocalRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = LocalRun(grid(RATES), tmp_path / "run")
    run.run()
    with pytest.raises(Conflict, match="trial 0 is completed"):
        run.continue_trials([0])
    with pytest.raises(NotFound):
        run.continue_trials([9])
    watching = Watching()
    run.continue_trials([3], on_start=lambda *_: watching)
    assert watching.epochs == [3, 4], "it continues after epoch 2"
    trial = LocalFolder(run.folder).trials[3]
    assert trial.result.state is TrialState.COMPLETED and trial.stopping is None
    assert len(trial.result.curve) == EPOCHS and not list(run.folder.glob(".checkpoint-3-*"))
    plain = LocalRun(grid(RATES, stopping=None), tmp_path / "plain")
    plain.run()
    assert plain.trials[3].result.artifacts == trial.result.artifacts, "nothing was lost by the stop"
    with pytest.raises(SystemExit) as ended:
        main(["retry", str(run.folder)])
    assert ended.value.code == 2 and "stopped trials to continue, of none" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_trial_that_the_user_stops_leaves_no_checkpoint(tmp_path: Path, epochs: int) -> None:
    class Stopping(Watching):
        def should_stop(self) -> bool:
            return len(self.epochs) == epochs

    run = LocalRun(grid(RATES[:1]), tmp_path)
    run.run(on_start=lambda *_: Stopping())
    assert fates(run) == [(TrialState.STOPPED, epochs, None)]
    assert not list(tmp_path.glob(".checkpoint-*"))


def test_the_command_continues_a_trial_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = LocalRun(grid(RATES), tmp_path)
    run.run()
    with pytest.raises(SystemExit) as ended:
        main(["retry", str(tmp_path), "--trial", "3"])
    assert ended.value.code == 0 and "completed" in capsys.readouterr().out


def test_earlier_journals_are_read(done: LocalRun) -> None:
    line = json.loads(done.trials[0].model_dump_json())
    del line["stopping"]
    assert Finished.model_validate(line) == done.trials[0]


def test_a_dry_run_describes_the_rule() -> None:
    [line] = [f for f in check(grid(RATES), candidates=1, draws=1).findings if f.subject == "stopping"]
    assert line.level == "ok" and line.message.startswith(
        "curves (probability 0.2, after 2, trials 3) may end"
    )
    short = grid(RATES, source={"name": "grid", "values": {"learning_rate": RATES}, "epochs": 1})
    [line] = [f for f in check(short, candidates=1, draws=1).findings if f.subject == "stopping"]
    assert line.level == "warning" and "every training has 1" in line.message


def test_a_forecast_moves_the_model_by_its_deviation() -> None:
    rng = np.random.default_rng(0)
    x, errors = rng.random((12, 3)), np.full(12, 0.1)
    errors[0] = 0.8
    hyperparameters = (gp.Hyperparameters(np.full(3, 0.5), 0.01, 0.0, 1.0, 1.0),)

    def mean(deviation: float) -> float:
        deviations = np.zeros(12)
        deviations[0] = deviation
        return float(gp.ErrorModel(x, errors, hyperparameters, deviations).predict(x[:1])[0][0])

    sure, rough, useless = mean(0.0), mean(0.5), mean(50.0)
    good, bad = logit(np.array([0.1, 0.8]))
    assert bad > sure > rough > useless > good - 0.1 and sure - useless > 0.5 * (bad - good)
    exact, loose = (gp.fit(x, errors, d)[0].noise for d in (np.zeros(12), np.r_[1.0, np.zeros(11)]))
    assert exact != loose


def test_the_search_learns_from_stopped_trials_and_counts_them() -> None:
    made = loop(search(), most=8)
    stopped = stop(made[-1], expected=0.9)
    history = History(search_spec(), SPACE, [*made[:-1], stopped])
    assert [(o.index, expected) for o, expected, _ in history.forecasts] == [(7, 0.9)]
    assert len(history.completed) == 7
    assert [(r.name, r.remaining) for r in history.rounds()] == [
        (r.name, r.remaining) for r in History(search_spec(), SPACE, made).rounds()
    ]
    assert history.whole_epochs(stopped) == history.epochs(replace(stopped, epochs=0.0))
    poor = search().next([*made[:-1], stopped], 3)
    good = search().next([*made[:-1], stop(made[-1], expected=0.001)], 3)
    assert [s.candidate for s in poor] != [s.candidate for s in good], "the forecast matters"


def search() -> Search:
    return Search(search_spec(), SPACE, costs, morphs)


def stop(observation: object, expected: float) -> object:
    decision = StopDecision(
        rule="curves", epoch=1, epochs=4, reason="a test", expected=expected, deviation=0.05
    )
    return replace(observation, state=TrialState.STOPPED, stopping=decision, epochs=1.0)  # type: ignore[type-var]
