"""The page of a study: error or loss against a cost, from a store with exactly known networks."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_dashboard import Seeded, Watched
from support_store import SPEC, Suggestion, fill, finish
from support_stream import served
from test_dashboard_content import drawn, table

from service.http.app import create_app
from service.settings import Settings
from service.store import Store
from sparsemod.records import Candidate, Measurement, TrialResult, TrialState
from sparsemod.spec.experiment import ExperimentSpec

STUDY = {
    "source": {
        "name": "study", "methods": ["magnitude", "filters"], "spacing": [{"type": "manual", "values": [0.5]}],
    },
    "pruning": {"method": "magnitude", "schedule": {"name": "one-shot", "begin": 0.0}},
}  # fmt: skip
NETWORKS = (
    # method, share removed, error, loss, flash
    ("none", 0.0, 0.10, 0.4, 4000.0), ("magnitude", 0.5, 0.12, 0.5, 3000.0), ("filters", 0.5, 0.15, 0.6, 2000.0),
)  # fmt: skip


UNITS = {"error": "fraction", "noise_error": "fraction", "flash": "B", "model_size": "B", "loss": "loss"}


def network(error: float, loss: float, flash: float) -> TrialResult:
    values = {
        "error": error,
        "loss": loss,
        "noise_error": 2 * error,
        "flash": flash,
        "nonzeros": flash / 2,
        "model_size": flash,
    }
    return TrialResult(
        state=TrialState.COMPLETED,
        measurements=tuple(
            Measurement(metric=n, value=v, unit=UNITS.get(n, ""), method="") for n, v in values.items()
        ),
        epochs=2.0,
    )


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    folder = tmp_path_factory.mktemp("study")
    store = Store.open(Settings(data_dir=folder).url)
    plain = {key: value for key, value in SPEC.items() if key != "rounds"}
    one = store.create_experiment(ExperimentSpec.parse({**plain, **STUDY})).id
    for method, share, *values in NETWORKS:
        above: dict[str, Any] = {"parent": 0} if share else {}
        candidate = Candidate(
            parameters={"pruning_method": method, "sparsity": share}, origin="study", round="study" if share else "reference",
            **above,
        )  # fmt: skip
        fill(store, one, [Suggestion(candidate)])
        finish(store, network(*values))
    with served(create_app(Settings(data_dir=folder), store=store)) as url:
        yield Seeded(url, store)
    store.close()


@pytest.fixture
def page_url(seeded: Seeded) -> str:
    return seeded.url


def lines(page: Any) -> dict[str, list[float]]:
    """The points of the chart by method: cost and measure."""
    found = drawn(page, "study")["series"]
    return {one["name"]: one["data"][0]["value"][:2] for one in found if one["type"] == "line"}


def test_error_and_loss_are_drawn_against_a_cost(watched: Watched) -> None:
    page = watched.open("#/experiments/1")
    card = page.locator("#study")
    card.get_by_label("Cost").select_option("flash")
    card.locator("[aria-label^='Error against Flash']").wait_for()
    assert lines(page) == {"magnitude": [3000, 12], "filters": [2000, 15]}
    card.get_by_label("Measure").select_option("loss")
    card.locator("[aria-label^='Loss against Flash']").wait_for()
    page.wait_for_function("() => document.querySelector('[data-chart=study][data-drawn=yes]')")
    assert lines(page) == {"magnitude": [3000, 0.5], "filters": [2000, 0.6]}
    if os.environ.get("SCREENSHOTS"):
        card.screenshot(path=str(Path(os.environ["SCREENSHOTS"]) / "study.png"))
    rows = table(page, "Table of the study's networks")
    assert [row[:6] for row in rows] == [
        ["reference", "0.0 %", "0", "10.00 %", "0.4", "20.00 %"],
        ["magnitude", "50.0 %", "1", "12.00 %", "0.5", "24.00 %"],
        ["filters", "50.0 %", "2", "15.00 %", "0.6", "30.00 %"],
    ]
