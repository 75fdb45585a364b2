"""The commands that talk to a server, against a real one (in a thread), with a suggester and a worker of the test's own."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_cli import Service, cli, served
from support_suggester import make_spec

from sparsemod.records import TrialState
from sparsemod.spec.files import dump


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(autouse=True)
def _address(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_SERVER", running.url)
    monkeypatch.delenv("COLUMNS", raising=False)


def test_submit_list_and_show(running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump(make_spec(name="submitted")))
    text = cli(capsys, "submit", str(spec))
    identity = int(re.findall(r"experiment (\d+) \(submitted\) started at \S+: 7 trials", text)[0])
    listed = cli(capsys, "list")
    assert re.search(rf"{identity} +submitted +running", listed)
    assert re.search(r"1 +finished +done .* 7/7", listed)
    assert "submitted" not in cli(capsys, "list", "--state", "done")
    assert "no experiment is failed" in cli(capsys, "list", "--state", "failed")
    assert "error state = 'sleeping'" in cli(capsys, "list", "--state", "sleeping", code=2)
    data = json.loads(cli(capsys, "show", "submitted", "--json"))
    assert (data["id"], data["spec"]["name"]) == (identity, "submitted")
    assert cli(capsys, "show", str(identity), "--spec") == spec.read_text()
    picture = cli(capsys, "show", "finished")
    for words in ("finished", "● done", "r1 Sobol", "4/4", "7 completed", "hypervolume"):
        assert words in picture


def test_stop_resume_extend_attach(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    identity = running.store.create_experiment(make_spec(name="steered")).id
    name = str(identity)
    assert "is stopped" in cli(capsys, "stop", name)
    assert "is running" in cli(capsys, "resume", name)
    text = cli(capsys, "extend", name, "--more", "r2=2", "--budget", "flash <= 9 KB")
    assert "9 trials in its rounds" in text
    assert running.store.experiment(identity).spec.budgets == {"flash": 9 * 1024}
    parameters = ["layers=1", "l1_width=8", "dropout=0.1"]
    assert f"trial 0 of experiment {identity} is queued" in cli(
        capsys, "attach", name, *parameters, "--epochs", "3"
    )
    record = running.store.observations(identity)[0]
    assert (record.candidate.origin, record.planned) == ("manual", 3)
    assert "parameters.filters" in cli(capsys, "attach", name, "filters=1", code=2)
    cli(capsys, "stop", name)


def test_watch_prints_lines_when_piped(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    identity = running.store.create_experiment(make_spec(name="watched")).id
    thread = threading.Thread(target=running.finish, args=(identity,))
    thread.start()
    lines = cli(capsys, "watch", "watched", "--refresh", "0.1").splitlines()
    thread.join()
    assert "done (all rounds are complete)" in lines[-1]
    assert "r1 4/4 r2 3/3" in lines[-1]
    assert "7 completed" in lines[-1]
    assert all("\x1b" not in line for line in lines)


def test_trials_as_table_json_and_csv(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    table = cli(capsys, "trials", "finished")
    assert len(re.findall(r"completed", table)) == 7
    found = json.loads(cli(capsys, "trials", "finished", "--format", "json", "--round", "r2", "--limit", "2"))
    assert [(trial["candidate"]["round"], trial["state"]) for trial in found] == [("r2", "completed")] * 2
    rows = cli(capsys, "trials", "1", "--format", "csv").splitlines()
    assert len(rows) == 8
    assert rows[0].startswith("trial,state,round")
    sizes = [
        t["measurements"][1]["value"]
        for t in json.loads(cli(capsys, "trials", "1", "-f", "json", "--sort", "model_size"))
    ]
    assert sizes == sorted(sizes)


def test_one_trial(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, "show", "1", "--trial", "0")
    for words in ("trial 0", "● completed", "sobol", "model_size", "attempt"):
        assert words in text
    assert json.loads(cli(capsys, "show", "1", "--trial", "0", "--json"))["index"] == 0
    assert cli(capsys, "show", "1", "--trial", "0", "--log") == ""
    assert "no trial" in cli(capsys, "show", "1", "--trial", "99", code=2)


def test_devices_that_points_fit(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    table = cli(capsys, "devices", "--fit", "1")
    assert "flash" in table and "RAM" in table
    point = running.store.pareto(1).points[0].index
    rows = [line.split() for line in cli(capsys, "devices", "--fit", "1", "--trial", str(point)).splitlines()]
    assert [row[0] for row in rows if row and row[0].isdecimal()] == [str(point)]


def test_pareto_and_its_files(running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = running.store.pareto(1)
    table = cli(capsys, "pareto", "1", "--out", str(tmp_path / "out"))
    assert f"{len(front.points)} points, hypervolume {front.hypervolume:.4f}" in table
    data = json.loads(cli(capsys, "pareto", "1", "--format", "json"))
    assert [point["index"] for point in data["points"]] == [point.index for point in front.points]
    assert len(cli(capsys, "pareto", "1", "--format", "csv").splitlines()) == 1 + len(front.points)
    written = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert written == {".csv", ".json", ".png", ".svg"}
    assert (tmp_path / "out" / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_export_writes_a_folder_for_each_point(
    running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = cli(capsys, "export", "1", "--out", str(tmp_path))
    front = running.store.pareto(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"trial-{point.index}" for point in front.points
    )
    trial = json.loads((tmp_path / f"trial-{front.points[0].index}" / "trial.json").read_text())
    assert trial["state"] == TrialState.COMPLETED
    assert str(tmp_path) in text


def test_an_unknown_experiment_name(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    words = cli(capsys, "show", "nonesuch", code=2)
    assert "error experiment = 'nonesuch': an id or a name of " in words and "1 (finished)" in words
    assert "error experiment = '9999': an id or a name of " in cli(capsys, "stop", "9999", code=2)


def test_a_search_starts_from_an_experiment_on_the_server(
    running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump(make_spec(name="informed")))
    cli(capsys, "submit", str(spec), "--from", "finished")
    (stored,) = [one for one in running.store.experiments()[0] if one.name == "informed"]
    found = running.store.experiment(stored.id).spec.to_dict()["source"]["earlier"]
    completed, _ = running.store.trials(1, state=TrialState.COMPLETED)
    assert [one["value"] for one in found] == [trial.values()["error"] for trial in completed]
    assert "--from" in cli(capsys, "submit", str(spec), "--from", "informed", code=2)
