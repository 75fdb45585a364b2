"""A whole search without a server, on digits."""

import errno
import json
import shutil
import threading
import time

import pytest
from support_trials import tiny_spec

from sparsemod.errors import Conflict, EnvironmentFailure, InvalidInput, SpaceEmpty
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.records import FailureKind, TrialState


def timeless(trial):
    result = trial.result.model_copy(
        update={
            "seconds": {},
            "curve": tuple(p.model_copy(update={"seconds": 0.0}) for p in trial.result.curve),
        }
    )
    return trial.model_copy(update={"result": result})


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


def test_an_interrupted_run_continues_to_the_same_end(finished, tmp_path):
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


def test_an_empty_space_is_reported(tmp_path):
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
    from sparsemod.pipeline import training_step

    def train(module, data, settings, **options):
        if train.calls == 0:
            train.calls += 1
            raise RuntimeError("boom")
        return real(module, data, settings, **options)

    real, train.calls = training_step.train, 0
    monkeypatch.setattr(training_step, "train", train)
    run = LocalRun(tiny_spec(), tmp_path)
    run.run()
    first, *others = run.trials
    assert first.result.state is TrialState.FAILED
    assert first.result.failure.kind is FailureKind.FAULT
    assert first.result.failure.message.startswith("train: RuntimeError: boom (test_trial_local.py, line ")
    assert "in train" in first.result.failure.detail
    assert len(others) == 6 and all(t.result.state is TrialState.COMPLETED for t in others)
    keys = [run.problem.space.key(t.candidate.parameters) for t in run.trials]
    assert len(set(keys)) == 7, "what ended in a fault does not come again"


ONE_ROUND = {
    "r1": {"trials": 2, "epochs": 1},
    "r2": {"trials": 0, "epochs": 1},
    "r3": {"trials": 0, "epochs": 1},
}


def test_a_trial_that_takes_too_long_is_ended_and_recorded(tmp_path, monkeypatch):
    from sparsemod.pipeline import training_step

    monkeypatch.setattr(training_step, "train", lambda *args, **options: time.sleep(60))
    run = LocalRun(tiny_spec(rounds=ONE_ROUND, limits={"trial_seconds": 0.3}), tmp_path)
    began = time.monotonic()
    run.run()
    assert time.monotonic() - began < 20
    for found in run.trials:
        assert found.result.failure.kind is FailureKind.FAULT
        assert found.result.failure.message == (
            "took longer than limits.trial_seconds = 0.3 s (in stage 'train') and was stopped"
        )


def test_the_limit_holds_beside_the_main_thread_too(tmp_path):
    run = LocalRun(tiny_spec(rounds=ONE_ROUND, limits={"trial_seconds": 1e-6}), tmp_path)
    thread = threading.Thread(target=run.run)
    thread.start()
    thread.join(60)
    assert [t.result.failure.kind for t in run.trials] == [FailureKind.FAULT] * 2


@pytest.mark.parametrize("where", ["artifact", "journal"])
def test_a_full_disk_stops_a_run_which_continues_later(finished, tmp_path, monkeypatch, where):
    whole, _ = finished
    full = OSError(errno.ENOSPC, "No space left on device")

    def no_space(*args):
        raise full

    run = LocalRun(whole.spec, tmp_path)

    def fill(trial):
        if trial.index == 2:
            if where == "artifact":
                monkeypatch.setattr("sparsemod.files.os.replace", no_space)
            else:
                monkeypatch.setattr("sparsemod.files.os.fsync", no_space)

    with pytest.raises(EnvironmentFailure, match="No space left on device; 3 finished trials are kept"):
        run.run(on_finished=fill)
    monkeypatch.undo()
    (tmp_path / ".trial-killed").mkdir()
    (tmp_path / ".pareto.csv.x1y2").touch()
    again = LocalRun(whole.spec, tmp_path)
    assert len(again.trials) == 3
    outcome = again.run()
    assert outcome.reason == "all rounds are complete"
    assert [timeless(t) for t in again.trials] == [timeless(t) for t in whole.trials]
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert left == [".lock"], "what a killed run left is removed"


def test_weights_that_are_gone_are_the_folders_failure(finished, tmp_path):
    whole, _ = finished
    shutil.copytree(whole.folder, tmp_path / "copy")
    run = LocalRun(whole.spec, tmp_path / "copy")
    child = next(t.candidate for t in run.trials if t.candidate.parent is not None)
    shutil.rmtree(run.folder / "artifacts")
    with pytest.raises(EnvironmentFailure, match=f"the weights of trial {child.parent} are missing"):
        run.parent(child)


def test_constraints_that_nothing_meets_end_a_run_in_an_error(tmp_path):
    spec = tiny_spec(constraints=[{"coefficients": {"l1_width": 1}, "bound": 1}])
    with pytest.raises(SpaceEmpty, match=r"constraints = \['l1_width <= 1'\]: met by none of"):
        LocalRun(spec, tmp_path).run()


def test_an_unknown_name_in_a_constraint_names_the_constraint(tmp_path):
    fine = {"coefficients": {"l1_width": 1}, "bound": 100}
    with pytest.raises(
        InvalidInput, match=r"constraints\.1 = 'l9': a parameter of the space that is a number"
    ):
        LocalRun(tiny_spec(constraints=[fine, {"coefficients": {"l9": 1}, "bound": 1}]), tmp_path)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InvalidInput, match=r"folder of results = '.*/file': a folder that can be created and written"
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
    # It was opened before the first run started, and sees that run's trials.
    assert len(second.run().rows) == len(first.trials)
