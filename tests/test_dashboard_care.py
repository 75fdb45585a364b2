"""The page with little data or with errors: old links, no trials, many mistakes at once, clock differences,
lost responses, branches."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from support_dashboard import Seeded, Watched, violations
from support_store import completed, fill, spec
from support_stream import served

from service.http.app import create_app
from service.schemas.trials import LogLine
from service.settings import Settings
from service.store import Store
from service.store.tables import experiments

LINES = 2_300


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    folder = tmp_path_factory.mktemp("care")
    store = Store.open(Settings(data_dir=folder).url)
    first = store.create_experiment(spec(name="first", objectives=["error", "model_size"], budgets={})).id
    fill(store, first, 3)
    claim = store.claim("w")
    assert claim is not None
    for start in range(0, LINES, 100):
        lines = [LogLine(time=1.0, level="info", message=f"line {start + n}") for n in range(100)]
        store.points(claim.attempt, claim.token, [], lines)
    store.finish(claim.attempt, claim.token, completed(0.25, 450.0))
    store.create_experiment(
        spec(name="empty", objectives=["error", "model_size"], budgets={}, target={"device": "rp2040"})
    )
    with served(create_app(Settings(data_dir=folder), store=store)) as url:
        yield Seeded(url, store)
    store.close()


@pytest.fixture
def page_url(seeded: Seeded) -> str:
    return seeded.url


@pytest.mark.slow
@pytest.mark.parametrize(
    "address", ["#/experiments/%E0%A4%A", "#/%", "#/experiments/1/trials/x", "#/nothing"]
)
def test_an_unknown_address_shows_an_error(watched: Watched, address: str) -> None:
    page = watched.open(address)
    assert page.locator("main h1").inner_text() == "No such page"
    assert violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("query", ["offset=-5", "offset=abc", "offset=1e9", "offset=4000", "state=odd"])
def test_a_list_with_an_odd_address_is_the_list(watched: Watched, query: str) -> None:
    page = watched.open(f"#/?{query}")
    page.locator("article").nth(1).wait_for()
    assert page.locator(".problem").count() == 0


@pytest.mark.long
def test_a_page_of_trials_that_is_not_there_is_the_last_one(watched: Watched) -> None:
    page = watched.open("#/experiments/1?offset=500&x=nonsense&c=nothing")
    page.get_by_text("1–3 of 3").wait_for()
    assert page.get_by_label("Across").input_value() == "model_size"
    assert page.get_by_label("Colour").input_value() == "round"


def test_an_experiment_without_trials_shows_hints(watched: Watched) -> None:
    page = watched.open("#/experiments/2")
    page.get_by_text("No trials yet: the first ones are being chosen.").wait_for()
    said = page.locator("main").inner_text()
    for part in (
        "no trial has a result yet",
        "Shown after the first completed trial.",
        "Shown after the first completed trials.",
    ):
        assert part in said, part
    # Nothing is known of any trial; that the objectives can be drawn is known.
    assert [page.get_by_label(name).input_value() for name in ("Across", "Up")] == ["model_size", "error"]
    # Without a budget in the spec, the device's limit is the reference.
    assert "model size 2.0 MB" in said
    assert violations(page) == []


def test_a_comparison_without_results_shows_hints(watched: Watched) -> None:
    page = watched.open("#/compare?ids=2,2,x")
    page.get_by_text("No completed trial meets all budgets yet.").wait_for()
    page.get_by_text("Shown after the first completed trial.").wait_for()
    assert page.get_by_role("checkbox", checked=True).count() == 1
    # One result is one point, which is seen.
    page.get_by_label("first #1").check()
    page.wait_for_selector("[data-chart=fronts][data-drawn=yes]")
    assert page.locator("[data-plot=volumes] canvas").count() == 1
    assert violations(page) == []


@pytest.mark.long
def test_a_new_experiment_can_be_compared_at_once(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/compare?ids=1")
    page.get_by_text("Live", exact=True).wait_for()
    page.get_by_label("empty #2").wait_for()
    made = seeded.store.create_experiment(spec(name="late", dataset={"name": "digits", "limit": 500})).id
    page.get_by_label(f"late #{made}").check()
    page.get_by_text("the networks are tested on different data").wait_for()
    seeded.store.delete_experiment(made)


def test_a_stored_spec_that_is_not_valid_is_shown_with_its_reason(watched: Watched, seeded: Seeded) -> None:
    made = seeded.store.create_experiment(spec(name="poison", objectives=["error", "model_size"])).id
    with seeded.store.engine.begin() as connection:
        row = sa.update(experiments).where(experiments.c.id == made)
        connection.execute(row.values(spec={"name": "poison", "from": "the future"}))
    page = watched.open("#/")
    page.locator("article", has_text=f"#{made}").locator(".problem").wait_for()
    page = watched.open(f"#/experiments/{made}")
    page.get_by_text(f"sparsemod mend {made} SPEC").wait_for()
    page.get_by_text("As stored").click()
    page.get_by_text('"from": "the future"').wait_for()
    page.get_by_role("button", name="Stop").click()
    page.locator(".view-head .state.stopped").wait_for()
    assert violations(page) == []
    seeded.store.delete_experiment(made)


def test_a_model_that_explains_nothing_ranks_nothing(watched: Watched) -> None:
    page = watched.page
    answer = {"experiment": 1, "revision": 1, "current": True, "trials": 14, "reason": None,
              "metrics": {"error": {"width": 0.4}, "model_size": {"width": 0.9}}, "accuracy": {"error": -3.5, "model_size": 0.8},
              "unexplained": ["error"]}  # fmt: skip
    page.route("**/experiments/1/importance", lambda route: route.fulfill(json=answer))
    watched.open("#/experiments/1")
    page.get_by_text("The model of 14 trials does not explain error yet").wait_for()
    assert page.locator(".bars").count() == 0
    page.get_by_label("for").select_option("model_size")
    page.get_by_text("90 %").wait_for()


def test_a_range_is_read_with_its_unit_or_refused(watched: Watched) -> None:
    page = watched.open("#/experiments/1")
    form = page.get_by_role("form", name="Ranges")
    form.get_by_label("Range of").select_option("error")
    form.get_by_label("to", exact=True).fill("thirty")
    form.get_by_role("button", name="Brush").click()
    page.get_by_text("“thirty” is not a number").wait_for()
    assert form.get_by_label("to", exact=True).get_attribute("aria-invalid") == "true"
    form.get_by_label("to", exact=True).fill("30 %")
    page.keyboard.press("Enter")
    form.get_by_text("1 trial brushed").wait_for()
    assert form.get_by_text("is not a number").count() == 0 and "0.3" in page.url


BRUSHED = """async () => {
    const echarts = await import("echarts");
    const chart = echarts.getInstanceByDom(document.querySelector("[data-chart=parallel]"));
    const axes = chart.getModel().queryComponents({mainType: "parallelAxis"});
    return axes.filter((axis) => axis.activeIntervals.length).map((axis) => [axis.id, axis.activeIntervals[0].map((v) => Number(v.toPrecision(6)))]);
}"""


def test_the_chart_shows_the_ranges_that_hold(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/experiments/1?b=error:0.1:0.3")
    page.wait_for_selector("[data-chart=parallel][data-drawn=yes]")
    assert page.evaluate(BRUSHED) == [["axis-error", [0.1, 0.3]]]
    form = page.get_by_role("form", name="Ranges")
    form.get_by_role("combobox").select_option("error")
    form.get_by_label("to", exact=True).fill("28 %")
    form.get_by_label("to", exact=True).press("Enter")
    page.get_by_text("… – 28.00 %").wait_for()
    page.wait_for_selector("[data-chart=parallel][data-drawn=yes]")
    assert page.evaluate(BRUSHED) == [["axis-error", [0.25, 0.28]]], "an open end is that of the data"
    # With a new result the chart is redrawn, and the brush stays.
    claim = seeded.store.claim("w")
    assert claim is not None
    seeded.store.finish(claim.attempt, claim.token, completed(0.26, 400.0))
    form.get_by_text("2 trials brushed").wait_for()
    page.wait_for_selector("[data-chart=parallel][data-drawn=yes]")
    assert page.evaluate(BRUSHED) == [["axis-error", [0.25, 0.28]]]
    page.get_by_role("button", name="Remove the range of error").click()
    page.wait_for_function("() => !location.hash.includes('b=')")
    page.wait_for_selector("[data-chart=parallel][data-drawn=yes]")
    assert page.evaluate(BRUSHED) == []


def test_the_keyboard_keeps_its_place(watched: Watched) -> None:
    page = watched.open("#/experiments/1")
    page.get_by_role("button", name="Select trial 0").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.textContent === 'Close'")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.ariaLabel === 'Select trial 0'")
    page = watched.open("#/new")
    page.get_by_role("tab", name="Form").focus()
    page.keyboard.press("ArrowRight")
    page.locator("textarea").wait_for()
    assert page.evaluate("document.activeElement.id") == "tab-yaml"


CUT_OFF = """async ([ok, leave]) => {
    const { request } = await import("/dashboard/lib/api.js");
    const abort = new AbortController();
    const original = window.fetch;
    window.fetch = async () => ({
        ok,
        status: ok ? 200 : 502,
        headers: new Headers(),
        json: async () => {
            if (leave) abort.abort();
            throw new TypeError("the body ended early");
        },
    });
    try {
        return { answer: await request("/experiments", { signal: abort.signal }) };
    } catch (error) {
        return { message: error.message };
    } finally {
        window.fetch = original;
    }
}"""


def test_an_answer_that_is_cut_off_is_an_error_and_never_null(watched: Watched) -> None:
    page = watched.open("#/experiments/1")
    page.get_by_role("button", name="Select trial 0").wait_for()
    assert page.evaluate(CUT_OFF, [True, False]) == {"message": "The server's answer was cut off."}
    assert page.evaluate(CUT_OFF, [True, True]) == {"message": "the body ended early"}  # the view was left
    assert page.evaluate(CUT_OFF, [False, False]) == {"message": "/experiments: the server answered 502"}


def test_an_axis_on_a_log_scale_has_numbers(watched: Watched) -> None:
    page = watched.open("#/experiments/1?log=1")
    page.wait_for_selector("[data-chart=scatter][data-drawn=yes]")
    for axis in ("xAxis", "yAxis"):
        assert page.evaluate(LABELS, axis) >= 2, axis


@pytest.mark.long
def test_ages_are_those_of_the_servers_clock(chromium: Any, seeded: Seeded) -> None:
    context = chromium.new_context()
    # The reader's clock is two hours behind.
    context.add_init_script("const real = Date.now; Date.now = () => real() - 7_200_000;")
    watched = Watched(context, seeded.url)
    page = watched.open("#/")
    page.locator("article").first.wait_for()
    page.wait_for_timeout(1500)
    assert "started now" not in page.locator("article").first.inner_text()
    context.close()
    ahead = chromium.new_context()
    ahead.add_init_script("const real = Date.now; Date.now = () => real() + 7_200_000;")
    page = Watched(ahead, seeded.url).open("#/")
    page.locator("article").first.wait_for()
    page.wait_for_timeout(1500)
    assert " h ago" not in page.locator("article").first.inner_text()
    ahead.close()


@pytest.mark.long
def test_a_long_log_is_read_to_its_end_and_once(watched: Watched) -> None:
    page = watched.open("#/experiments/1/trials/0")
    page.get_by_text(f"{LINES} lines, the last 2000 shown").wait_for()
    lines = [line.split(" ", 1)[1] for line in page.locator("[role=log] > div").all_inner_texts()]
    assert lines == [f"line {number}" for number in range(LINES - 2000, LINES)]
    assert page.get_by_label("Next trial").count() == 1
    page.get_by_label("Next trial").click()
    page.get_by_role("heading", name="Trial 1", exact=True).wait_for()
    page.get_by_label("Next trial").click()
    page.get_by_role("heading", name="Trial 2", exact=True).wait_for()
    page.get_by_label("Previous trial").wait_for()
    assert page.get_by_label("Next trial").count() == 0


@pytest.mark.long
def test_requests_that_failed_during_an_outage_are_repeated(watched: Watched) -> None:
    page = watched.page
    page.route("**/experiments/1/**", lambda route: route.abort())
    page.route("**/stream", lambda route: route.abort())
    page.goto(f"{watched.url}/#/experiments/1/trials/0")
    page.get_by_text("The server does not answer.").first.wait_for()
    page.unroute("**/experiments/1/**")
    page.unroute("**/stream")
    page.get_by_text(f"{LINES} lines", exact=False).wait_for()
    page.wait_for_function("() => !document.body.innerText.includes('The server does not answer.')")


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.mark.long
def test_hidden_tabs_use_no_connection(chromium: Any, seeded: Seeded) -> None:
    """A browser opens six connections to a server for all tabs; streams of hidden tabs would leave none for
    the next page."""
    context = chromium.new_context()
    context.add_init_script(
        "Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});"
    )
    tabs = [Watched(context, seeded.url) for _ in range(2)]
    for tab in tabs:
        tab.open("#/workers").get_by_text("alive").wait_for()
    assert not any(url.endswith("/stream") for tab in tabs for url in tab.asked)
    last = tabs[-1]
    last.page.evaluate(HIDE, False)
    last.page.get_by_text("Live", exact=True).wait_for()
    last.page.evaluate(HIDE, True)
    last.page.wait_for_timeout(5500)
    asked = len(last.asked)
    last.page.evaluate(HIDE, False)
    last.page.get_by_text("Live", exact=True).wait_for()
    last.page.wait_for_timeout(300)
    assert any("/stream" in url for url in last.asked[asked:]), "the stream is opened again for who looks"
    context.close()


LABELS = """async (name) => {
    const echarts = await import("echarts");
    const chart = echarts.getInstanceByDom(document.querySelector("[data-chart=scatter]"));
    const axis = chart.getModel().getComponent(name).axis;
    return axis.getViewLabels().length;
}"""
LAYOUT = """async (graph) => {
    const { layout } = await import("/dashboard/views/trial/drawing.js");
    const { places, edges, rows, columns } = layout(graph);
    return { places: Object.fromEntries(places), edges: edges.map(edge => [edge.from, edge.to, edge.row]), rows, columns };
}"""


def layer(name: str, *inputs: str) -> dict[str, Any]:
    return {
        "name": name,
        "output": name,
        "inputs": list(inputs),
        "kind": "conv",
        "shape": [1, 2, 2],
        "attributes": {},
    }


def test_branches_do_not_cross_operators(watched: Watched) -> None:
    page = watched.open("#/")
    residual = [layer("a", "input"), layer("b", "a"), layer("c", "b"), layer("add", "c", "a")]
    found = page.evaluate(
        LAYOUT,
        {
            "input": "input",
            "layers": [*residual, layer("p", "add"), layer("q", "add"), layer("concat", "p", "q")],
        },
    )
    places = {name: (place["column"], place["row"]) for name, place in found["places"].items()}
    assert len(set(places.values())) == len(places), "no two in one place"
    assert [places[name] for name in ("input", "a", "b", "c", "add", "concat")] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 0),
        (6, 0),
    ]
    assert {places["p"][0], places["q"][0]} == {5} and places["p"][1] != places["q"][1]
    for begin, end, row in found["edges"]:
        assert begin["column"] < end["column"]
        for column in range(begin["column"] + 1, end["column"]):
            assert (column, row) not in places.values(), "what skips operators goes around them"
