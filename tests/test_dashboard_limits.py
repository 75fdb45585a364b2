"""Fronts, hypervolumes and budgets on the page are the server's also where the device sets them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_dashboard import Watched, browser
from support_store import completed, fill, spec
from support_stream import served

from service.http.app import create_app
from service.settings import Settings
from service.store import Store
from sparsemod.records import Measurement

MEASURED = ((0.2, 700_000.0, 900_000.0), (0.1, 1_500_000.0, 2_100_000.0), (0.4, 90_000.0, 120_000.0))
"""Error, model size, flash: the second exceeds the 2 MB of an RP2040, although its model size does not."""


@pytest.fixture(scope="module")
def served_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Store]]:
    folder: Path = tmp_path_factory.mktemp("limits")
    store = Store.open(Settings(data_dir=folder).url)
    made = store.create_experiment(
        spec(name="board", target={"device": "rp2040"}, budgets={}, reference_point={})
    ).id
    fill(store, made, len(MEASURED))
    for error, size, flash in MEASURED:
        claim = store.claim("w")
        assert claim is not None
        linked = Measurement(metric="flash", value=flash, unit="B", method="linked", target="rp2040")
        result = completed(error, size)
        result = result.model_copy(update={"measurements": (*result.measurements, linked)})
        store.finish(claim.attempt, claim.token, result)
    with served(create_app(Settings(data_dir=folder), store=store)) as url:
        yield url, store
    store.close()


@pytest.fixture
def page(served_url: tuple[str, Store]) -> Iterator[Any]:
    with browser() as chromium:
        watched = Watched(chromium.new_context(viewport={"width": 1300, "height": 900}), served_url[0])
        yield watched.open("#/experiments/1")
        assert watched.complaints == []


def test_the_device_is_the_budget_where_the_spec_has_none(page: Any, served_url: tuple[str, Store]) -> None:
    pareto = served_url[1].pareto(1)
    assert [point.index for point in pareto.points] == [0, 2] and 0.1 < pareto.hypervolume < 0.9
    assert pareto.budgets["flash"] == pareto.reference_point["model_size"] == 2 * 1024**2
    page.wait_for_function("() => document.querySelector('.head')?.innerText.includes('2 points')")
    assert f"{pareto.hypervolume:.4f}" in page.locator(".head").inner_text()
    spec_card = page.locator("section:has(h2:text-is('Spec'))")
    spec_card.wait_for()
    assert "flash ≤ 2.0 MB (all of rp2040)" in spec_card.inner_text()
    # An axis of flash shades the region beyond the board's flash.
    page.get_by_label("Across").select_option("flash")
    page.wait_for_url("**x=flash**")
    page.wait_for_function(
        """async () => {
            const echarts = await import("echarts");
            const chart = echarts.getInstanceByDom(document.querySelector("[data-chart=scatter]"));
            return chart.getOption().series.some((one) => one.markLine?.data?.some((line) => line.xAxis === 2097152));
        }"""
    )


@pytest.mark.long
def test_a_limit_on_another_metric_is_a_column(served_url: tuple[str, Store], page: Any) -> None:
    served_url[1].extend(1, {}, {"flash": "1 MB"})
    page.wait_for_function("() => document.querySelector('#trials thead')?.innerText.includes('Flash')")
    page.wait_for_function("() => document.querySelector('.head')?.innerText.includes('2 points')")
    assert [point.index for point in served_url[1].pareto(1).points] == [0, 2]
