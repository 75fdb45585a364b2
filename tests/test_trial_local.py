"""A whole search without a server, on digits."""

import json

import pytest
from support_trials import tiny_spec

from sparsemod.errors import Conflict, InvalidInput, SpaceEmpty
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.records import FailureKind, TrialState


def timeless(trial):
    result = trial.result.model_copy(
        update={
            "seconds": {},
            "curve": tuple(p.model_copy(update={"seconds": 0.0}) for p in trial.result.curve),
        }
    )
    return trial.model_copy(update={"seconds": 0.0, "result": result})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = LocalRun(tiny_spec(), tmp_path_factory.mktemp("run"))
    return run, run.run()


def test_three_rounds_to_a_front_in_files(finished):
    run, outcome = finished
    assert [t.candidate.round for t in run.trials] == ["r1"] * 3 + ["r2"] * 2 + ["r3"] * 2
    assert all(t.result.state is TrialState.COMPLETED for t in run.trials)
    children = [t for t in run.trials if t.candidate.parent is not None]
    assert [t.candidate.origin for t in children] == ["morphism"] * 2
    assert all(t.candidate.operators for t in children)
    assert all(t.result.epochs > 1 for t in children)
    data = json.loads(outcome.files["pareto.json"].read_text())
    assert data["points"]
    assert 0 < data["hypervolume"] < 1
    for point in data["points"]:
        assert {m["metric"] for m in point["measurements"]} >= set(data["objectives"])
        for artifact in point["artifacts"]:
            assert run.artifact(artifact["digest"]).stat().st_size == artifact["size"]


def test_an_interrupted_run_goes_on_to_the_same_end(finished, tmp_path):
    whole, _ = finished

    class Interrupted(Exception):
        pass

    def interrupt(trial):
        if trial.index == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        LocalRun(whole.spec, tmp_path).run(on_finished=interrupt)
    with (tmp_path / "trials.jsonl").open("a") as journal:
        journal.write('{"index": 4, "candi')  # killed while writing
    again = LocalRun(whole.spec, tmp_path)
    assert len(again.trials) == 4
    again.run()
    assert [timeless(t) for t in again.trials] == [timeless(t) for t in whole.trials]


def test_a_folder_never_mixes_two_specs(finished, tmp_path):
    LocalRun(tiny_spec(), tmp_path)
    with pytest.raises(Conflict, match="another spec"):
        LocalRun(tiny_spec(seed=1), tmp_path)


def test_budgets_hold_for_every_trained_trial_and_infeasible_draws_are_recorded(tmp_path):
    run = LocalRun(tiny_spec(budgets=["flash <= 3 KB"]), tmp_path)
    run.run()
    trained = [t for t in run.trials if t.result.curve]
    assert len(trained) == 7
    assert all(t.result.value("flash") <= 3 * 1024 for t in trained)
    infeasible = [t for t in run.trials if t.result.state is TrialState.INFEASIBLE]
    assert infeasible
    assert all(t.result.value("flash") > 3 * 1024 and not t.result.curve for t in infeasible)


def test_an_empty_space_says_so(tmp_path):
    spec = tiny_spec(budgets=["flash <= 10 B"], search={"max_draws": 20})
    with pytest.raises(SpaceEmpty, match=r"flash <= 10 excludes"):
        LocalRun(spec, tmp_path).run()


@pytest.mark.parametrize("objectives", [["error"], ["latency", "error"], ["error", "ram", "flash"]])
def test_one_to_four_objectives_in_any_order(objectives, tmp_path):
    rounds = {
        "r1": {"trials": 2, "epochs": 1},
        "r2": {"trials": 1, "epochs": 1},
        "r3": {"trials": 1, "epochs": 1},
    }
    outcome = LocalRun(tiny_spec(objectives=objectives, rounds=rounds), tmp_path).run()
    assert len(outcome.rows) == 4
    assert json.loads(outcome.files["pareto.json"].read_text())["points"]


def test_a_mended_spec_takes_the_folder_of_its_first_error(tmp_path):
    def fail(index, suggestion):
        raise RuntimeError("the very first trial")

    with pytest.raises(RuntimeError, match="first trial"):
        LocalRun(tiny_spec(), tmp_path).run(on_start=fail)
    mended = tiny_spec(seed=7)
    assert LocalRun(mended, tmp_path).trials == []
    assert json.loads((tmp_path / "spec.json").read_text()) == mended.to_dict()


def test_a_journal_that_is_none_is_named_by_line(finished, tmp_path):
    run, _ = finished
    LocalRun(run.spec, tmp_path)
    (tmp_path / "trials.jsonl").write_text(run.trials[0].model_dump_json() + "\n{}\n")
    with pytest.raises(InvalidInput, match=r"trials\.jsonl:2: trial = '{}.*: a finished trial"):
        LocalRun(run.spec, tmp_path)


def test_unknown_augmentations_end_a_run_before_its_first_trial(tmp_path):
    with pytest.raises(InvalidInput, match=r"training\.augmentation\.0\.name = 'mirror': known: cutout"):
        LocalRun(tiny_spec(training={"augmentation": [{"name": "mirror"}]}), tmp_path)


def test_a_network_that_raises_while_it_trains_costs_its_trial(tmp_path, monkeypatch):
    from sparsemod.pipeline import local_run as local

    def evaluate(spec, candidate, **options):
        if candidate.round == "r1" and evaluate.calls == 0:
            evaluate.calls += 1
            raise RuntimeError("boom")
        return real(spec, candidate, **options)

    real, evaluate.calls = local.evaluate, 0
    monkeypatch.setattr(local, "evaluate", evaluate)
    run = LocalRun(tiny_spec(), tmp_path)
    run.run()
    first, *others = run.trials
    assert first.result.state is TrialState.FAILED
    assert first.result.failure.kind is FailureKind.FAULT
    assert first.result.failure.message == "RuntimeError: boom"
    assert "in evaluate" in first.result.failure.detail
    assert len(others) == 6 and all(t.result.state is TrialState.COMPLETED for t in others)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InvalidInput, match=r"folder of results = '.*/file': a folder that can be made and written"
    ):
        LocalRun(tiny_spec(), tmp_path / "file")


def test_two_runs_never_share_a_folder(tmp_path):
    second = LocalRun(tiny_spec(), tmp_path)
    told = []

    def start_again(trial):
        if not told:
            with pytest.raises(Conflict, match="another run is at work in"):
                second.run()
            told.append(trial.index)

    first = LocalRun(tiny_spec(), tmp_path)
    first.run(on_finished=start_again)
    assert told == [0]
    # It was opened before the first one had begun, and sees what that one did.
    assert len(second.run().rows) == len(first.trials)
