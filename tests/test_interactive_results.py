"""`import sparsemod as sm`: run, load, and the results as frames, plots and networks."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from support_interactive import search

import sparsemod as sm
from sparsemod.errors import Conflict, DigestMismatch, InvalidInput, InvalidSpec, NotFound, UnknownName
from sparsemod.interactive.progress import line
from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.quantization import IntegerNetwork
from sparsemod.records import Failure, FailureKind, TrialResult, TrialState
from sparsemod.report.results import trials_csv
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import dump


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("interactive") / "run"
    sm.run(search(), place, progress=False)
    return place


@pytest.fixture
def results(folder: Path) -> sm.Results:
    return sm.load(folder)


def test_the_import_is_cold_and_offers_its_names() -> None:
    code = """
import sys
import sparsemod as sm
heavy = {"torch", "pandas", "numpy", "matplotlib", "rich", "jinja2", "pydantic"} & set(sys.modules)
assert not heavy, heavy
assert set(sm.__all__) <= set(dir(sm)), dir(sm)
heavy = {"torch", "pandas", "numpy"} & set(sys.modules)
assert not heavy, heavy
try:
    sm.laod
except AttributeError as error:
    assert "laod" in str(error)
else:
    raise AssertionError("sm.laod")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_frames_hold_every_trial_and_the_front(results: sm.Results) -> None:
    trials, front = results.trials, results.front
    assert isinstance(trials, pd.DataFrame) and isinstance(front, pd.DataFrame)
    assert list(trials.index) == list(range(len(trials))) and trials.index.name == "trial"
    assert set(trials["state"]) == {"completed", "infeasible"} and (trials["state"] == "completed").sum() == 5
    infeasible = trials[trials["state"] == "infeasible"]
    assert infeasible["error"].isna().all() and (infeasible["flash"] > 2500).all()
    assert (
        len(front) == 3
        and front["error"].is_monotonic_increasing
        and front["model_size"].is_monotonic_decreasing
    )
    pd.testing.assert_frame_equal(pd.DataFrame(front), trials.loc[front.index])
    units = {"error": "fraction", "model_size": "B", "latency": "ms", "seconds": "s"}
    assert trials.attrs["units"].items() >= units.items() and front.attrs == trials.attrs
    assert trials["layers"].dtype == "Int64" and trials["learning_rate"].dtype == "float64"
    assert 0 < results.hypervolume < 1


def test_rows_of_the_front_are_trials(results: sm.Results) -> None:
    front = results.front
    assert [point.index for point in front.points] == list(front.index)
    assert front[0].index == front.index[0] and front[-1].index == front.index[-1]
    assert front[0].values["error"] == front["error"].iloc[0]
    assert front[0].parameters["learning_rate"] == front["learning_rate"].iloc[0]
    assert front[0].state is TrialState.COMPLETED and results.trial(front.index[0]).values == front[0].values
    with pytest.raises(IndexError, match=f"row {len(front)} of a front of {len(front)} trials"):
        front[len(front)]
    with pytest.raises(KeyError, match="size"):
        front["size"]
    with pytest.raises(NotFound, match=r"no trial 99 in .*/run"):
        results.trial(99)
    assert set(front[0].measurements["metric"]) >= {"error", "flash"}


def test_frames_derived_from_a_front_are_plain_frames(results: sm.Results) -> None:
    front = results.front
    for derived in (
        front[0:1],
        front[front["error"] < 2],
        front.copy(),
        front.sort_values("model_size"),
        pickle.loads(pickle.dumps(front)),
    ):
        assert type(derived) is pd.DataFrame and derived.attrs == front.attrs
    assert type(front[["error", "flash"]]) is pd.DataFrame and type(front["error"]) is pd.Series
    assert front[0:1].index[0] == front[0].index


def test_best_takes_limits_with_units(results: sm.Results) -> None:
    front = results.front
    assert results.best().index == front.index[0]
    assert results.best(error="<= 100 %").index == front.index[-1]
    assert (
        results.best(error=front["error"].iloc[1]).index
        == results.best(error="<= 50 %").index
        == front.index[1]
    )
    assert (
        results.best("latency").values["latency"]
        == results.trials.query("state == 'completed'")["latency"].min()
    )
    assert results.best(size=front["model_size"].iloc[-1]).index == front.index[-1]
    with pytest.raises(
        NotFound, match=r"no completed trial with 'error <= 0.01 %' in .*/run, where the smallest is error "
    ):
        results.best(error="<= 0.01 %")
    with pytest.raises(
        InvalidInput,
        match=r"error = '>= 3 %': an upper limit, with or without <= before it: a positive number",
    ):
        results.best(error=">= 3 %")
    with pytest.raises(UnknownName, match="metric = 'accuracy'"):
        results.best(accuracy="90 %")


def test_budgets_that_were_tightened_hold_everywhere(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    before = sm.load(tmp_path / "run")
    limit = before.front["model_size"].iloc[0] - 1
    LocalFolder(tmp_path / "run").extend({}, {"model_size": limit})
    after = before.refresh()
    assert after.objectives.budgets["model_size"] == limit and len(after.front)
    assert (after.front["model_size"] <= limit).all() and after.best().index == after.front.index[0]
    assert (after.trials["model_size"] > limit).any()
    legend = after.plot().get_legend()
    assert legend is not None and "over budget" in {text.get_text() for text in legend.get_texts()}
    plt.close("all")


def test_files_that_are_gone_or_damaged_are_not_exported(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    point = sm.load(tmp_path / "run").front[0]
    (artifact,) = (artifact for artifact in point.row.artifacts if artifact.kind == "network")
    stored = tmp_path / "run" / "artifacts" / artifact.digest.removeprefix("sha256:")
    stored.write_bytes(stored.read_bytes() + b"?")
    with pytest.raises(DigestMismatch, match=artifact.digest):
        point.network()
    stored.unlink()
    with pytest.raises(NotFound, match=f"no artifact '{artifact.digest}' in .*/run"):
        point.export(tmp_path / "best", "c")
    assert not (tmp_path / "best").exists()


def test_plots_are_axes(results: sm.Results) -> None:
    axes = results.plot()
    assert isinstance(axes, Axes) and (axes.get_xlabel(), axes.get_ylabel()) == (
        "model size [KB]",
        "error [%]",
    )
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {
        "Sobol",
        "on the front of all objectives",
    }
    assert results.plot("ram", "flash").get_ylabel() == "flash [KB]"
    _, (first, second) = plt.subplots(1, 2)
    assert (
        results.plot("trial", ax=second) is second
        and second.get_xlabel() == "trial"
        and not first.collections
    )
    with pytest.raises(InvalidInput, match="x = 'error': another metric than y, which is error"):
        results.plot("error")
    plt.close("all")


def test_a_point_is_exported_with_its_card(results: sm.Results, tmp_path: Path) -> None:
    point = results.front[0]
    done = point.export(tmp_path / "best", ["c", "onnx"])
    assert list((tmp_path / "best" / "c").glob("a_short_search_*.c")) and list(
        (tmp_path / "best" / "onnx").glob("*.onnx")
    )
    assert done.card.is_file() and [report.format for report in done.reports] == ["c", "onnx"]
    assert "c: equal in every byte" in repr(done) and "card.html" in done._repr_html_()
    assert done.note == "" and isinstance(point.network(), IntegerNetwork)
    with pytest.raises(UnknownName, match="hex"):
        point.export(tmp_path / "no", "hex")
    infeasible = results.trials.index[results.trials["state"] == "infeasible"][0]
    with pytest.raises(Conflict, match=f"trial {infeasible} has no network: its state is infeasible"):
        results.trial(infeasible).export(tmp_path / "no", "c")


def test_an_export_without_the_data_has_a_note(results: sm.Results, tmp_path: Path) -> None:
    """As for an experiment of a server whose data are not here."""
    away = {"name": "mnist", "root": str(tmp_path / "nothing")}
    point = results.front[0]
    point._spec = ExperimentSpec.parse(results.spec.to_dict() | {"dataset": away})
    done = point.export(tmp_path / "best", "onnx")
    assert "The files were checked on random inputs only: dataset 'mnist'" in repr(done)
    assert "random inputs only" in done._repr_html_()


def test_a_failed_format_raises_and_the_others_are_written(
    results: sm.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("sparsemod.export.onnx.exporter._session", broken)
    with pytest.raises(
        Conflict,
        match=r"could not be exported as onnx: RuntimeError: out of luck; c and the report card are in",
    ):
        results.front[0].export(tmp_path, ["onnx", "c"])
    assert (tmp_path / "card.html").is_file() and (tmp_path / "c").is_dir()


def test_summaries_show_the_counts(results: sm.Results, folder: Path) -> None:
    count = len(results.front)
    assert repr(results).startswith(
        "Results('a short search', 5 completed, "
    ) and f"{count} on the front; {folder}" in repr(results)
    page = results._repr_html_()
    assert "<h4>a short search</h4>" in page
    assert page.count("<tr>") == count + 1 and "flash ≤ 2500 B" in page and "hypervolume" in page
    point = results.front[0]
    assert repr(point).startswith(f"Trial({point.index}, completed: error ")
    assert (
        f"Trial {point.index}, completed" in point._repr_html_() and "learning_rate = " in point._repr_html_()
    )


def test_results_without_a_front_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(*_: object, **__: object) -> TrialResult:
        failure = Failure(kind=FailureKind.FAULT, message="RuntimeError: no <luck>")
        return TrialResult(state=TrialState.FAILED, failure=failure)

    monkeypatch.setattr("sparsemod.pipeline.local_run.evaluate", evaluate)
    rounds = {
        "r1": {"trials": 2, "epochs": 1},
        "r2": {"trials": 0, "epochs": 1},
        "r3": {"trials": 0, "epochs": 1},
    }
    failed = sm.run(search(rounds=rounds, budgets=[]), tmp_path / "run", progress=False)
    assert len(failed.front) == 0 and list(failed.front.columns) == list(failed.trials.columns)
    assert "no trial has completed; the last failure: RuntimeError: no <luck>" in repr(failed)
    assert "no &lt;luck&gt;" in failed._repr_html_()
    assert failed.trials["failure"].tolist() == ["RuntimeError: no <luck>"] * 2
    with pytest.raises(NotFound, match="which has 0 completed trials"):
        failed.best()
    failed.plot()
    plt.close("all")


def test_a_run_accepts_files_data_and_specs_and_continues(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.yaml").write_text(dump(search()))
    for spec in (tmp_path / "search.yaml", str(tmp_path / "search.yaml"), search().to_dict(), search()):
        again = sm.run(spec, folder)
        assert len(again.trials) == len(sm.load(folder).trials)
    assert capsys.readouterr().out == ""
    with pytest.raises(InvalidSpec, match="objectives"):
        sm.run(search().to_dict() | {"objectives": 3})
    with pytest.raises(InvalidInput, match=r"device = 'gpu': an available device: cpu"):
        sm.run(search(), tmp_path / "run", device="gpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(NotFound, match="no local run"):
        sm.load(tmp_path)


def test_an_interrupted_run_keeps_its_results_and_continues(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from sparsemod.interactive.progress import _Lines

    shown = _Lines.finished

    def interrupt(self: _Lines, trial: object) -> None:
        shown(self, trial)
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_Lines, "finished", interrupt)
        sm.run(search(), tmp_path / "run")
    assert torch.get_num_threads() == threads
    assert (tmp_path / "run" / "trials.csv").is_file() and len(sm.load(tmp_path / "run").trials) == 1
    whole = sm.run(search(), tmp_path / "run")
    pd.testing.assert_frame_equal(
        whole.trials.drop(columns="seconds"), sm.load(folder).trials.drop(columns="seconds")
    )
    local = LocalRun(search(), tmp_path / "run")
    lines = [line(trial, local.problem.objectives) for trial in local.trials]
    assert capsys.readouterr().out.splitlines() == lines and "completed   error " in lines[-1]
    assert (
        trials_csv([trial.record for trial in local.trials]) == (tmp_path / "run" / "trials.csv").read_text()
    )


@pytest.mark.long
def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """A pseudo terminal: one line that is drawn again, which ends with all trials."""
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
import sparsemod as sm
from support_interactive import search
sm.run(search(), {str(tmp_path / "run")!r})
"""
    main, other = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=other, stderr=other, env=environment
    ) as process:
        os.close(other)
        output = b""
        while True:
            try:
                output += os.read(main, 65536)
            except OSError:  # its end
                break
    os.close(main)
    assert process.returncode == 0, output.decode()
    text = output.decode()
    assert "5/5" in text and "on the front, error from" in text and "epoch 3/3" in text
