"""`sparsemod finalize`: the front over seeds, of a local run and of an experiment on a server, and on the page."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support_cli import cli
from support_dashboard import Watched, browser, violations
from support_serve import local_trials, serving, wait

from service.cli import main
from service.client.client import Client

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

SPEC = """
name: tiny front
dataset: {name: digits, limit: 600}
network: {family: mlp, options: {max_layers: 1, max_width: 16}}
source:
  name: search
  in_step: true
  rounds: {r1: {trials: 5, epochs: 2}, r2: {trials: 0, epochs: 2}, r3: {trials: 0, epochs: 1}, repeats: {trials: 1}}
objectives: [error, model_size]
training: {batch_size: 64}
measure: {device: model}
"""


@dataclass
class Runs:
    """The same experiment, finished in a folder and on a server as number 1."""

    folder: Path
    url: str
    client: Client


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("finalize")
    (folder / "spec.yaml").write_text(SPEC)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command("run", str(folder / "spec.yaml"), "--out", str(folder / "run"))
    with serving(folder, cwd=folder, environment=environment) as url, Client(url) as client:
        command("submit", str(folder / "spec.yaml"), "--server", url)
        wait(lambda: client.experiment(1).state != "running", folder, 200)
        yield Runs(folder / "run", url, client)


def test_a_local_front_is_settled_over_seeds(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(local_trials(runs.folder))
    assert before == 6
    table = cli(capsys, "finalize", str(runs.folder), "--trials", "4", "--out", str(tmp_path / "front"))
    trials = local_trials(runs.folder)
    repeats = [trial for trial in trials if trial.candidate.round == "repeats"]
    assert before < len(trials) <= before + 4 and len(repeats) == len(trials) - 5
    parameters = [trial.candidate.parameters for trial in trials[:5]]
    assert all(trial.candidate.parameters in parameters for trial in repeats)
    assert len({trial.seed for trial in trials}) == len(trials)
    assert "on the front" in table and "±" in table
    document = json.loads((tmp_path / "front" / "front.json").read_text())
    members = document["front"]
    assert sum(len(member["trials"]) for member in members) > len(members)
    for member in members:
        own = [trials[index] for index in member["trials"]]
        errors = [trial.result.values()["error"] for trial in own]
        assert member["metrics"]["error"] == pytest.approx(sum(errors) / len(errors), abs=1e-12)
    assert (tmp_path / "front" / "front.png").read_bytes().startswith(b"\x89PNG")
    again = cli(capsys, "finalize", str(runs.folder), "--trials", "0", "--json")
    assert json.loads(again)["front"] == [{**member, "test": None} for member in members]


def test_the_test_split_is_used_on_request_for_likely_members_only(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "finalize",
        str(runs.folder),
        "--trials",
        "0",
        "--test",
        "--seeds",
        "2",
        "--epochs",
        "1",
        "--json",
    )
    for member in json.loads(cli(capsys, *words))["front"]:
        assert (member["test"] is not None) == (member["probability"] >= 0.5)
        if member["test"] is not None:
            errors = [one["test"] for one in member["test"]["seeds"]]
            assert member["test"]["mean"] == pytest.approx(sum(errors) / 2)
            assert member["test"]["standard_error"] == pytest.approx(abs(errors[0] - errors[1]) / 2)


def test_the_service_settles_the_same_front(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    cli(capsys, "finalize", "1", "--trials", "2", "--server", runs.url)
    served = sorted(runs.client.trials(1), key=lambda trial: trial.index)
    here = local_trials(runs.folder)
    assert len(served) == 8
    for own, trial in zip(here, served, strict=False):
        assert (trial.candidate, trial.seed) == (own.candidate, own.seed)
        assert trial.measurements == own.result.measurements
    printed = json.loads(cli(capsys, "finalize", "1", "--trials", "0", "--json", "--server", runs.url))
    assert [one.model_dump(mode="json") for one in runs.client.membership(1)] == [
        {name: value for name, value in member.items() if name != "test"} for member in printed["front"]
    ]
    assert "repeats" in (runs.client.experiment(1).reason or "") or "settled" in (
        runs.client.experiment(1).reason or ""
    )


def test_the_page_shows_the_front_over_seeds(runs: Runs) -> None:
    with browser() as chromium:
        watched = Watched(chromium.new_context(viewport={"width": 1300, "height": 900}), runs.url)
        page = watched.open("#/experiments/1")
        rows = page.locator("#membership tbody tr")
        rows.first.wait_for()
        members = runs.client.membership(1)
        assert rows.count() == len(members)
        cells = rows.first.locator("td").all_inner_texts()
        assert cells[:3] == [
            str(members[0].trials[0]), str(len(members[0].trials)), f"{100 * members[0].probability:.0f} %",
        ]  # fmt: skip
        assert violations(page) == [] and watched.complaints == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epochs", "3"), "--epochs = 3: only with --test"),
        (("--trials", "0", "--device", "cuda:9", "--test"), "--device"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], message: str, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["finalize", str(runs.folder), *words])
    assert end.value.code == 2 and message in capsys.readouterr().err
