"""The dashboard in a real browser, on a real service that runs a real experiment."""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_dashboard import Watched, violations
from support_kill import Processes, until

from service.client.client import Client
from sparsemod.objectives import Objectives
from sparsemod.scales import Scale

NAME = "from the form"
FIRST = "the first"
METRICS = ("error", "model_size", "working_memory", "latency")
YAML = """version: 2
name: from yaml
dataset: {name: digits}
network: {family: mlp, options: {max_width: 16}}
rounds: {r1: {trials: 2, epochs: 1}, r2: {trials: 0, epochs: 1}, r3: {trials: 0, epochs: 1}}
objectives: [error, model_size]
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    running = Processes(tmp_path_factory.mktemp("dashboard"))
    running.start_server()
    running.start_suggester()
    running.start_worker("worker-1")
    try:
        running.answers()
        # Tests of this module may run in several processes, each with a service of its own.
        with Client(running.url) as client:
            first = client.create_experiment(YAML.replace("from yaml", FIRST)).id
            until(lambda: client.experiment(first).state == "done", 120, "the first experiment")
        yield running
    finally:
        running.end()


@pytest.fixture
def page_url(processes: Processes) -> str:
    return processes.url


def trials_drawn(page: Any, at_least: int) -> None:
    page.wait_for_function(
        "least => Number(document.querySelector('.grid')?.dataset.trials ?? 0) >= least", arg=at_least
    )


def completed(page: Any, at_least: int) -> None:
    page.wait_for_function(
        "least => [...document.querySelectorAll('.head .figure')].some(f => f.innerText.startsWith('Completed') && Number(f.innerText.split('\\n')[1]) >= least)",
        arg=at_least,
    )


def brush_last_axis(page: Any) -> None:
    """Drag along the last axis, again when a card above appeared meanwhile and moved the plot."""
    plot = page.locator("[data-chart=parallel]")
    for _ in range(10):
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box is not None
        x = box["x"] + box["width"] - 50
        page.mouse.move(x, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(x, box["y"] + box["height"] / 2, steps=5)
        page.mouse.move(x, box["y"] + box["height"] - 24, steps=5)
        page.mouse.up()
        for _ in range(50):
            if page.get_by_text(re.compile(r"\d+ trials? brushed")).is_visible():
                return
            page.wait_for_timeout(100)
    raise AssertionError("the axis cannot be brushed")


@pytest.mark.long
def test_a_search_from_the_form_to_a_file(watched: Watched, processes: Processes, tmp_path: Path) -> None:
    page = watched.open("#/new")
    page.get_by_label("Name", exact=True).fill("not / allowed")
    page.get_by_label("Network family").select_option("mlp")
    page.get_by_label("Max width").fill("32")
    for part, trials, epochs in (("Sobol", 5, 2), ("Model", 0, 1), ("Morphs", 0, 1)):
        page.get_by_label(f"{part}: trials").fill(str(trials))
        page.get_by_label(f"{part}: epochs").fill(str(epochs))
    page.get_by_label("Flash at most").fill("lots")
    start = page.get_by_role("button", name="Start experiment")
    start.click()
    error = page.locator("[id='f-name-error']")
    error.wait_for()
    assert page.get_by_label("Name", exact=True).get_attribute("aria-invalid") == "true"
    page.get_by_label("Name", exact=True).fill(NAME)
    start.click()
    page.locator("[id='f-budgets.flash-error']").wait_for()
    page.get_by_label("Flash at most").fill("64 KB")
    start.click()

    # Points appear by themselves.
    page.wait_for_url(re.compile(r"#/experiments/\d+$"))
    identity = int(page.url.rpartition("/")[2])
    page.get_by_role("heading", name=NAME, exact=True).wait_for()
    trials_drawn(page, 1)
    completed(page, 4)

    # Brush the error's axis, the last one, with the mouse; the address remembers it.
    brush_last_axis(page)
    assert "b=error" in page.url
    page.get_by_role("button", name="Remove the range of error").click()
    page.get_by_text(re.compile(r"\d+ trials? brushed")).wait_for(state="detached")

    # A trial of our own, which takes long: it appears as well. Open it, see its curve move.
    with Client(processes.url) as client:
        parameters = client.trial(identity, 0).candidate.parameters
        client.attach(identity, {**parameters, "dropout": 0.123}, epochs=20_000)
    page.locator("#trials tbody tr:has(.state.running):has-text('manual') a").click()
    page.get_by_role("heading", name="Trial 5", exact=True).wait_for()
    page.wait_for_selector("[data-epochs]")
    seen = int(page.locator("[data-epochs]").get_attribute("data-epochs") or 0)
    page.wait_for_function(
        "seen => Number(document.querySelector('[data-epochs]').dataset.epochs) > seen", arg=seen
    )

    # Stop and resume.
    page.get_by_role("link", name=NAME).click()
    page.get_by_role("button", name=f"Stop {NAME}").click()
    page.locator(".view-head .state.stopped").wait_for()
    with Client(processes.url) as client:
        assert client.experiment(identity).state == "stopped"
        page.get_by_role("button", name=f"Resume {NAME}").click()
        page.locator(".view-head .state.running").wait_for()
        assert client.experiment(identity).state == "running"
    page.locator("#trials tbody tr:has-text('manual') a").click()
    page.get_by_role("button", name="Stop trial").click()
    page.locator(".view-head .state.stopped").wait_for()

    # The file of a completed trial has its stated digest.
    page = watched.open(f"#/experiments/{identity}/trials/0")
    with page.expect_download() as download:
        page.get_by_role("link", name="weights.safetensors").click()
    path = tmp_path / "file"
    download.value.save_as(path)
    said = page.locator("tr:has-text('weights.safetensors') code").get_attribute("title")
    assert said == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    page.wait_for_selector("text=Memory while it runs", timeout=60_000)

    # The export is created on request, checked and downloadable.
    page.get_by_role("button", name="Export C", exact=True).click()
    page.locator("[aria-label=Exports] tr:has-text('equal to the integer network')").wait_for(timeout=120_000)
    with page.expect_download() as download:
        page.locator("a:has-text('-c.zip')").click()
    download.value.save_as(path)
    assert zipfile.is_zipfile(path)


def test_yaml_with_a_mistake_then_without(watched: Watched, processes: Processes) -> None:
    page = watched.open("#/new?from=yaml")
    area = page.locator("textarea")
    area.fill(YAML.replace("trials: 2", "trials: many"))
    page.get_by_role("button", name="Start experiment").click()
    page.get_by_text(re.compile(r"^Line 5: .*rounds\.r1\.trials")).wait_for()
    area.fill(YAML)
    page.get_by_role("button", name="Start experiment").click()
    page.get_by_role("heading", name="from yaml", exact=True).wait_for()
    identity = int(page.url.rpartition("/")[2])
    page.get_by_role("button", name="Delete from yaml").click()
    page.get_by_role("button", name=f"Delete experiment {identity}").click()
    page.wait_for_url(re.compile(r"#/$"))
    page.get_by_role("link", name=FIRST).wait_for()
    assert page.get_by_role("link", name="from yaml").count() == 0


@pytest.mark.long
def test_the_page_survives_its_server(watched: Watched, processes: Processes) -> None:
    with Client(processes.url) as client:
        identity = client.create_experiment(
            YAML.replace("from yaml", "survives").replace("trials: 2", "trials: 1")
        ).id
    page = watched.open(f"#/experiments/{identity}?y=model_size")
    completed(page, 1)
    page.get_by_text("Live", exact=True).wait_for()
    processes.kill("server")
    page.get_by_text("Reconnecting…").wait_for()
    processes.start_server()
    processes.answers()
    with Client(processes.url) as client:
        client.extend(identity, {"r1": 2})
    # The page was not reloaded, lost no data, and kept the selection.
    completed(page, 3)
    page.get_by_text("Live", exact=True).wait_for()
    assert page.get_by_label("Up").input_value() == "model_size"
    assert not watched.complaints


VIEWS = (
    "#/",
    "#/new",
    "#/new?from=yaml",
    "#/experiments/1?t=2",
    "#/experiments/1/trials/0",
    "#/compare?ids=1,3",
    "#/workers",
)


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(watched: Watched, view: str) -> None:
    page = watched.open(view)
    page.wait_for_function(
        "() => !document.querySelector('main [role=status]')?.innerText.startsWith('Loading')"
    )
    page.wait_for_timeout(400)
    found: dict[str, list[str]] = {}
    for name, scheme, width in (("light", "light", 1300), ("dark", "dark", 1300), ("phone", "light", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(100)
        found[name] = violations(page)
        if name == "phone":
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, f"{wide} px beyond the screen"
    assert found == {"light": [], "dark": [], "phone": []}


def test_keyboard_and_theme(watched: Watched) -> None:
    page = watched.open("#/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to content"
    seen = []
    for _ in range(9):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.innerText"))
    assert seen == [
        "sparsemod", "Experiments", "Compare", "Models", "Workers", "Webhooks", "Quotas", "API", "Dark",
    ]  # fmt: skip
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    page.wait_for_selector("main h1")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_page_shows_the_servers_hypervolume(watched: Watched, processes: Processes) -> None:
    with Client(processes.url) as client:
        pareto = client.pareto(1)
    page = watched.open("#/experiments/1")
    page.wait_for_function(
        "value => document.querySelector('.head')?.innerText.includes(value)", arg=f"{pareto.hypervolume:.4f}"
    )
    assert (
        page.locator(".head .figure:has-text('Front')")
        .inner_text()
        .endswith(f"{len(pareto.points)} point{'s' * (len(pareto.points) != 1)}")
    )


FRONT = """async ({rows, scales}) => {
    const {Front} = await import('/dashboard/lib/pareto.js');
    const front = new Front({objectives: Object.keys(scales), scales, budgets: {latency: 0.9}});
    rows.forEach((row, index) => front.add(index, (metric) => row[metric]));
    return {history: front.history.map((point) => point.hypervolume), members: front.members.map((member) => member.row)};
}"""


@pytest.mark.parametrize("names", [METRICS[:1], METRICS[:2], METRICS[:3], METRICS])
def test_fronts_that_are_compared_are_those_of_the_library(watched: Watched, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(len(names))
    # Some equal values, some beyond the reference point or the budget, some below the low end of a scale.
    rows = [dict(zip(METRICS, (rng.integers(1, 23, 4) / 20).tolist(), strict=True)) for _ in range(150)]
    scales = {name: Scale("log", 0.2, 1.0) for name in names[1:]}
    objectives = Objectives(names, dict.fromkeys(names, 1.0), {"latency": 0.9}, scales)
    page = watched.open("#/")
    found = page.evaluate(
        FRONT, {"rows": rows, "scales": {name: asdict(objectives.scales[name]) for name in names}}
    )
    assert sorted(found["members"]) == sorted(objectives.front(rows))
    assert found["history"] == pytest.approx(objectives.history(rows), abs=1e-12)
