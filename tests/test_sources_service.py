"""Experiments whose source is no search, through check, run, submit, server, suggester, worker and page: a grid, and the source
of an example outside the package; with a stage that is an example outside the package, too."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support_cli import cli
from support_dashboard import Watched, browser, violations
from support_docs import EXAMPLES
from support_serve import local_trials, serving, wait

from service.client.client import Client
from service.schemas.trials import TrialView
from sparsemod.pipeline.journal import Finished
from sparsemod.records import TrialState

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

GRID = """
name: tiny grid
dataset: {name: digits, limit: 600}
network: {family: mlp, options: {max_layers: 1, max_width: 16}}
source: {name: grid, values: {l1_width: [6, 16], learning_rate: [0.003, 0.03]}, repetitions: 2, epochs: 1}
pipeline: [build, screen, train, {name: clip, deviations: 2.0}, prune, quantize, measure]
objectives: [error, model_size]
budgets: ["size <= 1 KB"]
training: {batch_size: 64}
measure: {device: model}
"""
IMPORTS = ("--import", "own_source", "--import", "own_stage")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments: Any, folder: Path = EXAMPLES) -> str:
    words = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=folder, env=ENVIRONMENT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Runs:
    """The results of both ways to run: the local folders, and the server with the finished experiments 1
    (grid) and 2 (user's source)."""

    url: str
    client: Client
    folders: list[Path]

    def local(self, number: int) -> list[Finished]:
        return local_trials(self.folders[number - 1])

    def served(self, number: int) -> list[TrialView]:
        return sorted(self.client.trials(number), key=lambda trial: trial.index)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "grid.yaml").write_text(GRID)
    specs = [folder / "grid.yaml", EXAMPLES / "own_source.yaml"]
    with serving(folder, *IMPORTS, cwd=EXAMPLES, environment=ENVIRONMENT) as url, Client(url) as client:
        folders = []
        for number, spec in enumerate(specs, 1):
            folders.append(folder / f"local-{number}")
            command("run", spec, *IMPORTS, "--out", folders[-1])
            # The client needs no code of the source: the server has it.
            assert f"experiment {number} (" in command("submit", spec, "--server", url)
        wait(lambda: all(client.experiment(number).state != "running" for number in (1, 2)), folder, 200)
        yield Runs(url, client, folders)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_a_local_run_and_the_service_find_the_same(runs: Runs, number: int) -> None:
    here, there = runs.local(number), runs.served(number)
    assert len(here) == len(there) > 3
    for own, trial in zip(here, there, strict=True):
        assert (trial.candidate, trial.seed, trial.epochs) == (own.candidate, own.seed, own.planned_epochs)
        assert (trial.state, trial.measurements) == (own.result.state, own.result.measurements)


def test_repetitions_have_equal_parameters_and_different_seeds(runs: Runs) -> None:
    trials = runs.served(1)
    groups: dict[str, list[TrialView]] = {}
    for trial in trials:
        groups.setdefault(json.dumps(trial.candidate.parameters), []).append(trial)
    assert [len(group) for group in groups.values()] == [2] * 4
    assert len({trial.seed for trial in trials}) == 8
    feasible = [group for group in groups.values() if group[0].state is TrialState.COMPLETED]
    assert len(feasible) == 2 and all(len({t.values()["error"] for t in g}) == 2 for g in feasible)
    found = runs.client.repetitions(1)
    assert [group.trials for group in found] == [tuple(t.index for t in group) for group in feasible]
    for group, own in zip(found, feasible, strict=True):
        errors = [t.values()["error"] for t in own]
        assert group.metrics["error"].mean == pytest.approx(sum(errors) / 2, abs=1e-12)
        assert group.metrics["error"].deviation == pytest.approx(
            abs(errors[0] - errors[1]) / 2**0.5, abs=1e-12
        )


def test_ax_gets_every_repetition(runs: Runs) -> None:
    found = runs.client.ax(1)["experiment"]["trials"]
    assert sorted(trial["run_metadata"]["sparsemod_index"] for trial in found.values()) == list(range(8))


def test_a_stage_outside_the_package_works_in_both(runs: Runs) -> None:
    for trial in runs.served(1):
        if trial.state is TrialState.COMPLETED:
            assert any(note.startswith("clipped ") and note != "clipped 0 weights" for note in trial.notes)
            assert set(trial.seconds) == {"build", "screen", "train", "clip", "prune", "quantize", "measure"}
    assert [t.result.notes for t in runs.local(1)] == [t.notes for t in runs.served(1)]
    checked = command("check", "own_stage.yaml", "--import", "own_stage", "--candidates", "1")
    assert "1 of 1 candidates went through the whole pipeline" in " ".join(checked.split())


def test_progress_has_the_rounds_of_the_source(runs: Runs) -> None:
    grid, own = runs.client.experiment(1), runs.client.experiment(2)
    assert {name: (r.title, r.done, r.trials) for name, r in grid.rounds.items()} == {"grid": ("grid", 8, 8)}
    assert (grid.state, grid.reason) == ("done", "the grid is complete: 4 candidates, 2 repetitions")
    assert {name: (r.title, r.done, r.trials) for name, r in own.rounds.items()} == {
        "short": ("first wave", 2, 2), "long": ("second wave", 2, 2),
    }  # fmt: skip
    assert [t.candidate.round for t in runs.served(2)] == ["short", "short", "long", "long"]
    assert [t.epochs for t in runs.served(2)] == [1, 1, 2, 2]


def test_the_commands_show_them(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert "±" in cli(capsys, "repetitions", "1", "--server", runs.url)
    table = cli(capsys, "repetitions", "1", "--format", "csv", "--server", runs.url)
    assert table == (runs.folders[0] / "repetitions.csv").read_text()
    none = cli(capsys, "repetitions", "2", "--server", runs.url)
    assert none == "no candidate was completed more than once\n"
    assert "short 2/2 long 2/2" in cli(capsys, "watch", "2", "--server", runs.url)
    checked = command("check", "own_source.yaml", "--import", "own_source", "--candidates", "1")
    assert "for 4 trials (6 epochs)" in " ".join(checked.split())


def test_the_page_shows_both(runs: Runs) -> None:
    with browser() as chromium:
        watched = Watched(chromium.new_context(viewport={"width": 1300, "height": 900}), runs.url)
        page = watched.open("#/")
        page.get_by_text("tiny grid").wait_for()
        labels = page.locator(".progress-label").all_inner_texts()
        assert sorted(" ".join(label.split()) for label in labels) == [
            "grid 8 / 8", "long second wave 2 / 2", "short first wave 2 / 2",
        ]  # fmt: skip
        page = watched.open("#/experiments/1")
        rows = page.locator("#repetitions tbody tr")
        rows.first.wait_for()
        assert rows.count() == 2
        group = runs.client.repetitions(1)[0]
        shown = f"{100 * group.metrics['error'].mean:.2f} % ± {100 * group.metrics['error'].deviation:.2f} %"
        assert shown in rows.first.inner_text()
        page.locator("#trials tbody tr").nth(7).wait_for()
        assert page.locator("#trials tbody tr").count() == 8
        assert violations(page) == []
        page = watched.open("#/experiments/2")
        page.locator("#trials .pick:has-text('Round') select").select_option("long")
        page.get_by_text("2 matching", exact=True).wait_for()
        assert page.locator("#repetitions").count() == 0
        page = watched.open("#/new")
        page.get_by_label("Source").select_option("random")
        page.get_by_label("Trials").fill("1")
        page.get_by_label("Source").select_option("grid")
        page.get_by_label("Values").fill("l1_width: 4, 8\nlearning_rate: 0.01")
        page.get_by_label("Repetitions").fill("2")
        page.get_by_role("tab", name="YAML").click()
        made = page.locator("textarea").input_value()
        assert "name: grid" in made and "l1_width: [4, 8]" in made and "repetitions: 2" in made
        assert "trials" not in made
        assert watched.complaints == [] and watched.outside() == []
