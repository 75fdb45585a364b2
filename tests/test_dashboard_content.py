"""The views of a small store with exactly known contents; any text in the store stays text."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support_dashboard import Seeded, Watched, violations
from support_store import (
    Suggestion,
    completed,
    fault,
    fill,
    finish,
    point,
    spec,
    stored_artifact,
    suggestions,
)
from support_stream import served

from service.http.app import create_app
from service.schemas.trials import LogLine
from service.settings import Settings
from service.store import Store
from sparsemod.records import Candidate, Measurement

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"\'&'
SEQUENCES = {
    "sequences": 24, "windows": 69, "voting": 21, "windows_each": [1, 2.875, 5], "value": 0.1, "window_value": 0.2,
    "lengths": [3, 4.8, 5],
}  # fmt: skip
ANSWERS = {
    "classes": ["yes", "no"], "errors": [0.25, 0.0], "counts": [8, 12], "confusion": [[6, 2], [0, 12]],
    "macro_error": 0.125, "macro_f1": 0.8901,
}  # fmt: skip
BUDGETS = {"model_size": 1000.0, "error": 0.4}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    folder = tmp_path_factory.mktemp("content")
    store = Store.open(Settings(data_dir=folder).url)
    first = store.create_experiment(spec(name="first", budgets=BUDGETS)).id
    over = Suggestion(
        Candidate(parameters={"width": 90, "deep": True}, origin="sobol", round="r1"),
        costs={"model_size": 1100.0}, feasible=False, over={"model_size": 100.0},
    )  # fmt: skip
    fill(store, first, [*suggestions(4), over])
    # Trial 2 breaks the budget of the error, trial 3 both; trial 4 was never trained.
    for error, size in ((0.2, 800.0), (0.3, 400.0), (0.6, 300.0), (0.5, 1200.0)):
        finish(store, completed(error, size))
    morph = Candidate(
        parameters={"width": 12, "deep": True}, origin="morphism", round="r3", parent=1, operators=("widen dense 1 to 12",)
    )  # fmt: skip
    fill(store, first, [Suggestion(morph, costs={"model_size": 450.0}), Suggestion(hostile(first))])
    finish(store, completed(0.25, 450.0, artifacts=(stored_artifact(store, b"w"),)))
    claim = store.claim(EVIL, EVIL)
    assert claim is not None
    store.points(
        claim.attempt,
        claim.token,
        [point(1).model_copy(update={"angle": 88.5})],
        [LogLine(time=1.0, level="info", message=EVIL)],
    )
    extra = Measurement(metric="latency", value=0.25, unit="ms", method=EVIL, target=EVIL)
    angle = Measurement(metric="gradient_angle", value=70.25, unit="degrees", method="x")
    result = completed(0.35, 350.0, notes=(EVIL,))
    store.finish(
        claim.attempt,
        claim.token,
        result.model_copy(update={"measurements": (*result.measurements, extra, angle)}),
    )
    second = store.create_experiment(
        spec(name="second", budgets=BUDGETS, limits={"attempts": 1}), owner=EVIL
    ).id
    fill(store, second, 2)
    voted = completed(0.1, 900.0)
    error = voted.measurements[0].model_copy(update={"detail": {"sequences": SEQUENCES, **ANSWERS}})
    finish(store, voted.model_copy(update={"measurements": (error, *voted.measurements[1:])}))
    finish(store, fault(EVIL))
    with served(create_app(Settings(data_dir=folder), store=store)) as url:
        yield Seeded(url, store)
    store.close()


def hostile(parent: int) -> Candidate:
    return Candidate(
        parameters={"width": 5, "kind": EVIL}, origin="morphism", round="r3", parent=parent, operators=(EVIL,)
    )


@pytest.fixture
def page_url(seeded: Seeded) -> str:
    return seeded.url


OPTION = """async (name) => {
    const echarts = await import("echarts");
    return echarts.getInstanceByDom(document.querySelector(`[data-chart=${name}]`)).getOption();
}"""


def drawn(page: Any, name: str) -> dict[str, Any]:
    """Return a chart's data from ECharts."""
    page.wait_for_selector(f"[data-chart={name}][data-drawn=yes]")
    found: dict[str, Any] = page.evaluate(OPTION, name)
    return found


def text(page: Any, selector: str) -> str:
    page.locator(selector).first.wait_for()
    return " ".join(str(page.locator(selector).first.inner_text()).split())


def table(page: Any, label: str) -> list[list[str]]:
    rows = page.get_by_role("group", name=label).locator("tbody tr")
    rows.first.wait_for()
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim().replace(/\\s+/g, ' ')))"
    found: list[list[str]] = rows.evaluate_all(cells)
    return found


def test_the_list_shows_the_progress_of_each_experiment(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/")
    page.get_by_text("Best error").nth(1).wait_for()
    first, second = page.locator("article").nth(1), page.locator("article").nth(0)
    said = " ".join(first.inner_text().split())
    for part in (
        "first #1 running", "r1 Sobol 4 / 4", "r2 model 0 / 4", "r3 morphs 2 / 2",
        "Best error 20.00 %", "Best model size 350 B", "Front 4 points", "6 completed", "1 infeasible", "trials a minute", "left",
    ):  # fmt: skip
        assert part in said, (part, said)
    assert EVIL in second.inner_text() and "1 failed" in second.inner_text()
    # The server filters by state, so matches on later pages are found, too.
    seeded.store.stop(2)
    page.get_by_label("Show").select_option("stopped")
    page.get_by_text("1 experiment", exact=True).wait_for()
    assert page.locator("article").count() == 1 and "state=stopped" in page.url
    page.get_by_label("Show").select_option("failed")
    page.get_by_text("No experiment is failed.").wait_for()
    seeded.store.resume(2)


def test_a_trial_shows_the_angle_to_the_true_gradient(watched: Watched) -> None:
    page = watched.open("#/experiments/1/trials/6")
    page.get_by_label("Show").first.select_option("angle")
    page.get_by_label("Angle to the true gradient over epoch").wait_for()
    assert "curve=angle" in page.url
    row = next(
        cells for cells in table(page, "Table of measurements") if "Angle to the true gradient" in cells
    )
    assert row[1] == "70.3°"


@pytest.mark.long
def test_a_trial_on_sequences_shows_its_windows_and_votes(watched: Watched) -> None:
    page = watched.open("#/experiments/2/trials/0")
    page.get_by_role("heading", name="Sequences", exact=True).wait_for()
    shown = (
        page.locator("article, section")
        .filter(has=page.get_by_role("heading", name="Sequences", exact=True))
        .first
    )
    words = " ".join(shown.inner_text().split())
    for part in (
        "Sequences 24, 21 of them by votes of several windows", "Windows 69; of one sequence 1 to 5, mean 2.88",
        "Error of sequences 10.00 %", "Error of single windows 20.00 %", "Valid steps of a window 3 to 5, mean 4.8",
    ):  # fmt: skip
        assert part in words, (part, words)


@pytest.mark.long
def test_a_classification_shows_its_confusion_matrix_and_the_means_over_its_classes(watched: Watched) -> None:
    page = watched.open("#/experiments/2/trials/0")
    assert table(page, "Confusion matrix") == [["yes", "6", "2", "25.0 %"], ["no", "0", "12", "0.0 %"]]
    card = (
        page.locator("article, section").filter(has=page.get_by_role("group", name="Confusion matrix")).first
    )
    words = " ".join(card.inner_text().split())
    assert "Macro error 12.50 %" in words and "Macro F1 89.01 %" in words, words


def test_the_front_its_budgets_and_trials_over_them(watched: Watched) -> None:
    page = watched.open("#/experiments/1?x=model_size&y=error&t=5")
    option = drawn(page, "scatter")
    areas = [area for series in option["series"] for area in (series.get("markArea") or {}).get("data") or ()]
    edges = {
        axis: min(corner[axis] for area in areas for corner in area if axis in corner)
        for axis in ("xAxis", "yAxis")
    }
    assert edges == {"xAxis": 1000.0, "yAxis": 0.4}
    spots: dict[int, Any] = {}
    for series in option["series"]:
        for item in series["data"] if series["type"] == "scatter" else ():
            if isinstance(item, dict) and "index" in item:
                spots[item["index"]] = item
    assert set(range(7)) <= set(spots)
    colours = {index: spots[index]["itemStyle"]["color"] for index in (0, 2, 3)}
    assert colours[2] == colours[3] != colours[0], "what breaks a budget is grey"
    chosen = {"x": "width", "y": "model_size", "c": "error"}
    picks = page.locator("#scatter .pick:has(select)")
    for place, (name, choice) in enumerate(chosen.items()):
        picks.nth(place).locator("select").select_option(choice)
        assert f"{name}={choice}" in page.url
    assert drawn(page, "scatter")["xAxis"][0]["name"] == "Width"
    # The address holds the selection: another page shows the same.
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    picks.first.wait_for()
    assert [picks.nth(place).locator("select").input_value() for place in range(3)] == list(chosen.values())


@pytest.mark.long
def test_the_lineage_shows_the_changes_and_costs_of_each_step(watched: Watched) -> None:
    page = watched.open("#/experiments/1?t=5")
    page.locator(".lineage li").nth(1).wait_for()
    child, parent = (" ".join(item.split()) for item in page.locator(".lineage li").all_inner_texts())
    assert "Trial 5 from 1 by widen dense 1 to 12" in child
    assert "error −5.00 points" in child and "model size +50 B" in child
    assert "width 1 → 12" in child and "deep – → true" in child
    assert (
        page.locator(".lineage .good").inner_text() == "error −5.00 points"
        and page.locator(".lineage .bad").inner_text() == "model size +50 B"
    )
    assert "Trial 1" in parent and "no parent" in parent


@pytest.mark.long
def test_the_history_and_its_rounds(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/experiments/1")
    page.locator("[data-plot=history] canvas").wait_for()
    volume = seeded.store.pareto(1).hypervolume
    assert f"Hypervolume {volume:.4f}" in text(page, ".head .figures")
    assert "against error 40.00 %, model size 1.0 KB" in text(page, "section[aria-label=Hypervolume]")


def test_the_table_is_sorted_and_filtered_by_the_server(watched: Watched) -> None:
    page = watched.open("#/experiments/1?sort=model_size&order=asc")
    found = [row[0] for row in table(page, "Table of trials")]
    assert found == ["2", "6", "1", "5", "0", "4", "3"]
    page.locator("#trials").get_by_role("button", name="Error").click()
    page.locator("#trials th[aria-sort=ascending]:has-text('Error')").wait_for()
    page.locator("#trials tbody tr:first-child:has-text('20.00 %')").wait_for()
    assert "sort=error" in page.url and any("sort=error" in asked for asked in watched.asked)
    for name, choice, left in (("State", "completed", 6), ("Round", "r3", 2), ("Origin", "morphism", 2)):
        page.locator(f"#trials .pick:has-text('{name}') select").select_option(choice)
        page.get_by_text(f"{left} matching", exact=True).wait_for()
        assert f"{name.lower()}={choice}" in page.url
    assert [row[3] for row in table(page, "Table of trials")] == ["morphism of 1"] * 2


@pytest.mark.long
def test_the_timeline_leads_to_trials(watched: Watched) -> None:
    page = watched.open("#/experiments/1?span=0")
    lane = page.locator("section[aria-label=\"Workers' timeline\"] svg[aria-label^='w: 5 attempts']")
    lane.wait_for()
    assert page.locator('section[aria-label="Workers\' timeline"] svg').count() == 2
    card = page.locator('section[aria-label="Workers\' timeline"]')
    box = lane.bounding_box()
    for x in range(0, int(box["width"]), 3):  # the page describes the attempt under the mouse
        lane.hover(position={"x": x, "y": box["height"] / 2})
        said = re.search(r"trial (\d+), completed", card.inner_text())
        if said:
            lane.click(position={"x": x, "y": box["height"] / 2})
            page.get_by_role("heading", name=f"Trial {said[1]}", exact=True).wait_for()
            return
    raise AssertionError("no attempt in the lane")


def test_a_trial_shows_the_method_of_each_measurement(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/experiments/1/trials/5")
    assert table(page, "Table of measurements") == [
        ["Error", "25.00 %", "0.25 ± 0.01", "integer network", "–", "validation"],
        ["Model size", "450 B", "450 B", "analytic", "stm32f446", "–"],
    ]
    assert "No worker" not in text(page, "section[aria-label=Attempts]")
    digest = seeded.store.trial(1, 5).artifacts[0].digest
    (file,) = table(page, "Files")
    assert file[:3] == ["weights.safetensors", "weights", "1 B"] and file[3].startswith(digest[7:19])
    page.get_by_text("Its size and memory are not known yet.").wait_for()
    page = watched.open("#/experiments/1/trials/77")
    assert text(page, "main h1") == "Trial 77" and "no trial 77" in text(page, "main .note")


def test_which_device_it_fits(watched: Watched, seeded: Seeded) -> None:
    fill(seeded.store, 2, [Suggestion(Candidate(parameters={"width": 7}, origin="sobol", round="r1"))])
    result = completed(0.1, 900.0)
    more = (("flash", 3 * 2**19, "B"), ("ram", 2**17 + 100, "B"), ("working_memory", 64.0, "B"))
    linked = tuple(
        Measurement(metric=m, value=v, unit=u, method="emulated", detail={"core": "cortex-m4"})
        for m, v, u in more
    )
    finish(seeded.store, result.model_copy(update={"measurements": (*result.measurements, *linked)}))
    page = watched.open("#/experiments/2/trials/2")
    devices = {row[0]: row[1:] for row in table(page, "Devices")}
    assert devices["stm32f446 (target)"][0] == "no: flash by 1.0 MB, RAM by 100 B"
    assert devices["stm32h743"][:3] == ["yes", "75.0 % of 2.0 MB", "25.0 % of 512 KB"]
    page.get_by_text("as linked for cortex-m4").wait_for()
    assert ["RAM", "128 KB", "131172 B"] in [row[:3] for row in table(page, "Table of measurements")]


def test_two_experiments_on_one_plot(watched: Watched) -> None:
    page = watched.open("#/compare?ids=1,2")
    option = drawn(page, "fronts")
    fronts = [{item["index"] for item in s["data"]} for s in option["series"] if s["type"] == "scatter"]
    assert fronts[0] == {0, 1, 5, 6} and 0 in fronts[1]
    rows = table(page, "Comparison in numbers")
    assert [row[0] for row in rows] == ["first #1", "second #2"] and rows[0][7:9] == ["20.00 %", "350 B"]
    assert "against error 40.00 %, model size 1.0 KB" in text(page, "section[aria-label=Hypervolume]")
    page.locator("section[aria-label=Hypervolume] select").select_option("seconds")
    page.locator("[data-plot=volumes][aria-label='Hypervolume over seconds'] canvas").wait_for()
    assert "over=seconds" in page.url
    page = watched.open("#/compare?ids=77")
    page.get_by_text("no experiment 77").wait_for()
    assert page.get_by_text("Loading…").count() == 0


def test_workers_and_draining(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/workers")
    rows = {row[0]: row for row in table(page, "Table of workers")}
    assert rows["w"][1:5] == ["idle", "cpu", "1", "–"] and re.search(r"now|ago", rows["w"][5])
    page.get_by_role("button", name="Drain w", exact=True).click()
    page.locator("tr:has(th:text-is('w')) >> text=draining").wait_for()
    assert {worker.name: worker.draining for worker in seeded.store.workers()} == {"w": True, EVIL: False}
    page.get_by_role("button", name="Undo draining w", exact=True).click()
    page.locator("tr:has(th:text-is('w')) >> text=idle").wait_for()


def test_extending_from_the_page(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/experiments/2")
    page.get_by_role("button", name="Extend second").click()
    page.get_by_label("More trials in r2").fill("3")
    page.get_by_label("Budgets to change").fill("speed <= 3")
    page.locator("dialog").get_by_role("button", name="Extend", exact=True).click()
    page.locator("dialog [role=alert]").wait_for()
    assert "speed" in text(page, "dialog [role=alert]")
    page.get_by_label("Budgets to change").fill("error <= none")
    page.locator("dialog").get_by_role("button", name="Extend", exact=True).click()
    page.locator("dialog").wait_for(state="detached")
    page.get_by_text("0 / 7").wait_for()
    assert dict(seeded.store.experiment(2).spec.budgets) == {"model_size": 1000.0}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 390)])
def test_the_page_of_the_api(watched: Watched, scheme: str, width: int) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 844})
    page = watched.open("docs")
    page.get_by_text("Which devices a trial fits").wait_for()
    assert violations(page) == [] and watched.outside() == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


HOSTILE = (
    "#/",
    "#/experiments/1?t=6&c=kind",
    "#/experiments/1/trials/6",
    "#/experiments/2/trials/1",
    "#/compare?ids=1,2",
    "#/workers",
)


@pytest.mark.slow
@pytest.mark.parametrize("view", HOSTILE)
def test_text_stays_text(watched: Watched, view: str) -> None:
    page = watched.open(view)
    page.wait_for_timeout(1000)
    page.mouse.move(300, 400)  # tips of charts take HTML
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        for step in range(12):
            page.mouse.move(box["x"] + box["width"] * step / 12, box["y"] + box["height"] * (1 - step / 12))
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0
    assert "onerror" in page.locator("main").inner_text() or "compare" in view
    assert violations(page) == []


def test_the_tip_of_a_point_is_text(watched: Watched) -> None:
    page = watched.open("#/experiments/1?x=model_size&y=error&c=kind")
    drawn(page, "scatter")
    tip = page.evaluate("""async () => {
        const echarts = await import("echarts");
        const chart = echarts.getInstanceByDom(document.querySelector("[data-chart=scatter]"));
        const at = chart.getOption().series.flatMap((series, s) => series.data.map((item, d) => [s, d, item?.index])).find((one) => one[2] === 6);
        chart.dispatchAction({type: "showTip", seriesIndex: at[0], dataIndex: at[1]});
        await new Promise((done) => setTimeout(done, 300));
        return document.querySelector("[data-chart=scatter]").innerText;
    }""")
    assert "Trial 6" in tip and page.evaluate("window.hacked") is None
    assert page.locator("[data-chart=scatter] img").count() == 0
