"""The page with thousands of trials: the store of the benchmark, in a real browser."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_dashboard import Watched, browser
from support_kill import Processes

TRIALS = 2_400
STORE = Path(__file__).parent.parent / "benchmarks" / "dashboard_store.py"
POINT = """async (index) => {
  const echarts = await import("echarts");
  const element = document.querySelector("[data-chart=scatter]");
  const chart = echarts.getInstanceByDom(element);
  for (const one of chart.getOption().series) {
    const found = one.large && one.data.find((item) => item[2] === index);
    if (!found) continue;
    const box = element.getBoundingClientRect();
    const [x, y] = chart.convertToPixel({seriesId: one.id}, found);
    return [box.left + x, box.top + y];
  }
}"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    spec = importlib.util.spec_from_file_location("dashboard_store", STORE)
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    processes = Processes(tmp_path_factory.mktemp("many"))
    benchmark.seed(f"sqlite:///{processes.folder / 'sparsemod.db'}", benchmark.candidates(TRIALS))
    processes.start_server()
    processes.answers()
    try:
        yield processes
    finally:
        processes.end()


@pytest.mark.long
def test_thousands_of_trials_are_drawn_and_can_be_picked(many: Processes) -> None:
    with browser() as chromium:
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        watched = Watched(context, many.url)
        page = watched.open("#/experiments/1")
        page.wait_for_selector(f".grid[data-trials='{TRIALS}'] [data-chart=scatter][data-drawn=yes] canvas")
        # The page requested the data before its modules were loaded, and only once.
        asked = [url.removeprefix(many.url) for url in watched.asked]
        first = "/experiments/1/points"
        # An open stream asks for the experiment's state again.
        begin = asked[: next(i for i, url in enumerate(asked) if "/stream" in url)]
        assert asked.count(first) == begin.count("/experiments/1") == 1
        assert asked.index(first) < asked.index("/dashboard/views/experiment.js")
        # All parts appear one after the other.
        page.wait_for_selector("#trials tbody tr")
        page.wait_for_selector("#parallel canvas")
        # A point of a large series is a trial like any other.
        index = TRIALS - 1
        x, y = page.evaluate(POINT, index)
        page.mouse.move(x, y)
        page.mouse.click(x, y)
        page.wait_for_function("() => /[?&]t=\\d+/.test(location.hash)")
        picked = int(page.evaluate("/[?&]t=(\\d+)/.exec(location.hash)[1]"))
        near = page.evaluate(POINT, picked)
        if near is not None:  # another point may cover it; a point of the front is in no large series
            assert abs(near[0] - x) < 12 and abs(near[1] - y) < 12
        assert watched.complaints == [] and watched.outside() == []


@pytest.mark.long
def test_early_requests_are_used_once(many: Processes) -> None:
    """After a change through the page, early responses must not be used."""
    with browser() as chromium:
        watched = Watched(chromium.new_context(), many.url)
        page = watched.open("#/experiments/1")
        page.wait_for_selector("#trials tbody tr")
        assert page.evaluate("Object.keys(window.begun ?? {})") == []
        # A missing object is reported at once.
        page.evaluate("location.hash = '#/experiments/99'")
        page.get_by_role("heading", name="Experiment 99", exact=True).wait_for()
        page.get_by_text("99").nth(1).wait_for()
        page.locator(".link-state:empty").wait_for(state="attached")
        assert watched.complaints == []
