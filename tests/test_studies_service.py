"""A study through the service: cascade with rewinding, its route, its report, its card on the page."""

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_dashboard import WAIT, browser
from support_kill import Processes, until
from test_cli_local import cli

from service.client.client import Client
from sparsemod.records import TrialState

pytestmark = pytest.mark.long

STUDY = """
name: small study
network: {family: cnn, options: {max_filters: 8}, dataset: {name: digits, limit: 500}}
training: {epochs: 2, batch_size: 64}
retraining: {epochs: 2, start_epoch: 1}
experiments:
  methods: [ThresNet, FilterThresNet]
  mode: cascade-rewind
  nets: 2
  spacing: [{type: manual, values: [0.7, 0.4]}]
measure: {device: model}
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    running = Processes(tmp_path_factory.mktemp("study"))
    running.start_server()
    running.start_suggester()
    running.start_worker("worker-1")
    try:
        running.answers()
        yield running
    finally:
        running.end()


def test_a_study_runs_through_the_service(
    processes: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    printed = cli(capsys, "study", str(file), "--submit", "--server", processes.url)
    assert "(small study) started" in printed and "10 trials" in printed
    with Client(processes.url) as client:
        (one,) = list(client.experiments())
        until(lambda: client.experiment(one.id).state in ("done", "failed"), 240, "the study")
        assert client.experiment(one.id).reason == "the study is complete: 10 networks"
        trials = list(client.trials(one.id))
    assert [t.state for t in trials] == [TrialState.COMPLETED] * 10
    early = {t.index: t.artifact("rewind") for t in trials}
    assert all(early.values())
    for trial in trials:
        if trial.candidate.parent is not None:
            above = early[trial.candidate.parent]
            own = early[trial.index]
            assert above is not None and own is not None and own.digest == above.digest
    with urllib.request.urlopen(f"{processes.url}/experiments/{one.id}/study") as answer:
        study = json.load(answer)
    assert [(p["method"], len(p["trials"])) for p in study["points"]] == [
        ("none", 2), ("ThresNet", 2), ("ThresNet", 2), ("FilterThresNet", 2), ("FilterThresNet", 2),
    ]  # fmt: skip
    assert all("noise_error" in p["damage"] and "loss" in p["mean"] for p in study["points"])
    assert all(0 < share <= 1 for p in study["points"][1:] for share in p["layers"].values())
    assert len(study["prunability"]) == 13 * 2 and study["reference"] > 0
    with urllib.request.urlopen(f"{processes.url}/experiments/{one.id}/study?csv=true") as answer:
        csv = answer.read().decode()
        assert csv.startswith("level,method,series") and "attachment" in answer.headers["content-disposition"]
    written = cli(
        capsys, "prunability", str(one.id), "--out", str(tmp_path / "report"), "--server", processes.url
    )
    assert "prunability.html" in written
    assert (tmp_path / "report" / "prunability.csv").read_text() == csv

    # a trial of the study, compressed from the server
    words = ("--methods", "magnitude", "--sparsity", "0.5", "--epochs", "1", "--server", processes.url)
    printed = cli(capsys, "compress", str(one.id), "0", *words, "--out", str(tmp_path / "compressed"))
    assert "the study is complete: 2 networks" in printed

    # the page
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(WAIT)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{processes.url}/#/experiments/{one.id}")
        card = page.locator("#study")
        card.locator("[data-chart=study][data-drawn=yes]").wait_for()
        assert card.locator("table").first.locator("tbody tr").count() == 2
        card.get_by_label("Cost").select_option("flash")
        card.get_by_label("Measure").select_option("loss")
        card.locator("[data-chart=study][data-drawn=yes][aria-label^='Loss against Flash']").wait_for()
        card.locator("select").nth(2).select_option("0.1")
        assert "none" not in card.locator("table").first.inner_text()
        assert "Blur error" in card.locator("table").nth(1).inner_text()
        if os.environ.get("SCREENSHOTS"):
            card.screenshot(path=str(Path(os.environ["SCREENSHOTS"]) / "study.png"))
        card.locator("table").nth(1).locator("tbody tr").nth(1).locator("a").first.click()
        page.wait_for_url(f"**/#/experiments/{one.id}/trials/*")
        assert not errors
