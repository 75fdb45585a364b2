"""The form and the YAML of a new experiment, in a browser."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support_dashboard import Seeded, Watched, violations
from support_stream import served

from service.http.app import create_app
from service.settings import Settings
from service.store import Store

MISTAKES = """version: 2
dataset: {name: digits, colour: red}
network: {family: mlp}
seed: -3
rounds:
  r1: {trials: some, epochs: 0}
"""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    folder = tmp_path_factory.mktemp("create")
    store = Store.open(Settings(data_dir=folder).url)
    with served(create_app(Settings(data_dir=folder), store=store)) as url:
        yield Seeded(url, store)
    store.close()


@pytest.fixture
def page_url(seeded: Seeded) -> str:
    return seeded.url


def offered(page: Any) -> list[str]:
    """The network families that can be chosen."""
    options = page.get_by_label("Network family").locator("option")
    return options.evaluate_all("all => all.filter(one => !one.disabled).map(one => one.value)")


def test_a_task_offers_its_families_and_is_part_of_the_spec(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/new")
    task, family = page.get_by_label("Task"), page.get_by_label("Network family")
    assert task.input_value() == "classification"
    assert {"cnn", "mlp"} <= set(offered(page)) and not {"fcn", "autoencoder"} & set(offered(page))
    task.select_option("per-pixel")
    assert family.input_value() == "fcn" and "autoencoder" not in offered(page)
    task.select_option("regression")
    assert family.input_value() in offered(page) and family.input_value() != "fcn"
    page.get_by_role("button", name="Start experiment").click()
    page.get_by_text("reference_point.rmse").wait_for()
    assert page.get_by_text("the largest value that interests you").is_visible()
    page.get_by_label("Error at most").fill("3")
    assert violations(page) == []
    page.get_by_role("tab", name="YAML").click()
    assert "task: regression" in page.locator("textarea").input_value()
    page.get_by_role("tab", name="Form").click()
    page.get_by_role("button", name="Start experiment").click()
    page.wait_for_url(re.compile(r"#/experiments/\d+$"))
    made = int(page.url.rpartition("/")[2])
    assert seeded.store.experiment(made).spec.task.name == "regression"


def test_every_mistake_in_a_form_is_shown_at_its_field(watched: Watched) -> None:
    page = watched.open("#/new")
    page.get_by_label("Name", exact=True).fill("a/b")
    page.get_by_label("Sobol: trials").fill("some")
    page.get_by_label("Morphs: epochs").fill("0")
    page.get_by_label("Latency at most").fill("20 KB")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_role("button", name="Start experiment").click()
    page.locator("#e-objectives").wait_for()
    wrong = page.locator("[aria-invalid=true]").evaluate_all("fields => fields.map(field => field.name)")
    assert wrong == ["name", "source.rounds.r1.trials", "source.rounds.r3.epochs", "budgets.latency"]
    assert page.locator(".field-error").count() == 5 and page.locator(".problem").count() == 0
    assert page.evaluate("document.activeElement.name") == "name"
    assert violations(page) == []


def test_every_mistake_in_yaml_has_its_line(watched: Watched) -> None:
    page = watched.open("#/new?from=yaml")
    page.locator("textarea").fill(MISTAKES)
    page.get_by_role("button", name="Start experiment").click()
    page.locator("#yaml-error").wait_for()
    said = page.locator("#yaml-error p").all_inner_texts()
    assert [one.partition(" = ")[0] for one in said] == [
        "Line 2: dataset.colour",
        "Line 4: seed",
        "Line 6: source.rounds.r1.trials",
        "Line 6: source.rounds.r1.epochs",
    ]


def test_a_front_end_is_offered_for_signals_and_searched(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/new")
    assert page.get_by_label("Front end").count() == 0  # digits are images
    page.get_by_label("Dataset").select_option("sounds")
    front, family = page.get_by_label("Front end"), page.get_by_label("Network family")
    assert front.input_value() == "" and "cnn" not in offered(page)
    front.select_option("mfcc")
    family.select_option("cnn")
    assert page.get_by_text("Samples of a frame").is_visible()
    page.get_by_label("Rate").fill("8000")
    page.get_by_label("Window", exact=True).fill("4096")
    page.get_by_label("Coefficients").fill("8, 99")
    page.get_by_role("button", name="Start experiment").click()
    page.locator(".field-error").first.wait_for()
    wrong = page.locator("[aria-invalid=true]").evaluate_all("fields => fields.map(field => field.name)")
    assert wrong[0] == "network.front_end.window" and page.locator(".problem").count() == 0
    page.get_by_label("Window", exact=True).fill("128, 256")
    page.get_by_label("Hop").fill("80")
    page.get_by_label("Bands").fill("16")
    page.get_by_label("Coefficients").fill("8, 12")
    assert violations(page) == []
    page.get_by_role("button", name="Start experiment").click()
    page.wait_for_url(re.compile(r"#/experiments/\d+$"))
    spec = seeded.store.experiment(int(page.url.rpartition("/")[2])).spec.to_dict()
    assert spec["network"]["family"] == "cnn"
    made = spec["network"]["front_end"]
    assert (made["name"], made["rate"]) == ("mfcc", 8000)
    assert [list(made[key]) for key in ("window", "hop", "bands", "coefficients")] == [
        [128, 256], [80], [16], [8, 12],
    ]  # fmt: skip


def test_the_front_end_goes_with_its_data(watched: Watched) -> None:
    page = watched.open("#/new")
    page.get_by_label("Dataset").select_option("gestures")
    page.get_by_label("Front end").select_option("motion")
    page.get_by_label("Network family").select_option("cnn")
    page.get_by_label("Front end").select_option("")
    assert page.get_by_label("Network family").input_value() in offered(page)
    page.get_by_label("Front end").select_option("motion")
    page.get_by_label("Dataset").select_option("digits")
    assert page.get_by_label("Front end").count() == 0
    page.get_by_role("tab", name="YAML").click()
    assert "front_end" not in page.locator("textarea").input_value()


def test_the_spec_follows_the_form_until_it_is_edited(watched: Watched) -> None:
    page = watched.open("#/new?from=yaml")
    assert "name: digits search" in page.locator("textarea").input_value()
    page.get_by_role("tab", name="Form").click()
    page.get_by_label("Name", exact=True).fill("renamed")
    page.get_by_role("tab", name="YAML").click()
    assert "name: renamed" in page.locator("textarea").input_value()
    page.locator("textarea").fill("name: mine")
    page.get_by_role("tab", name="Form").click()
    page.get_by_role("tab", name="YAML").click()
    assert page.locator("textarea").input_value() == "name: mine"


@pytest.mark.parametrize("view", ["#/new", "#/new?from=yaml"])
def test_nothing_can_be_typed_before_the_defaults_are_there(watched: Watched, view: str) -> None:
    """Defaults that arrive while a user types would change the text under the cursor."""
    page = watched.open("#/")
    held: list[Any] = []
    page.route("**/catalogue", lambda route: held.append(route))
    with page.expect_request("**/catalogue"):
        page.evaluate(f"location.hash = {view!r}")
    page.locator("#create-panel").get_by_text("Loading").wait_for()
    assert page.locator("#create-panel input, #create-panel textarea").count() == 0
    held[0].continue_()
    page.locator("#create-panel input, #create-panel textarea").first.wait_for()


@pytest.mark.parametrize(
    ("spec", "line", "said"),
    [
        ("name: x\nrounds: {}\n  bad: [\n", 3, "well-formed YAML"),
        ("name: x\nname: y\n", 2, "name"),
        (
            "dataset: {name: digits}\nnetwork: {family: mlp}\nrounds:\n  r1: {trials: many}\n",
            4,
            "source.rounds.r1.trials",
        ),
        ("include: other.yaml\n", 1, "only possible in a file"),
    ],
)
def test_a_mistake_in_a_spec_is_shown_at_its_line(watched: Watched, spec: str, line: int, said: str) -> None:
    page = watched.open("#/new?from=yaml")
    page.locator("textarea").fill(spec)
    page.get_by_role("button", name="Start experiment").click()
    found = " ".join(page.locator("#yaml-error").inner_text().split())
    assert found.startswith(f"Line {line}: ") and said in found and "body" not in found
    chosen = page.evaluate(
        "(() => { const a = document.activeElement; return a.value.slice(a.selectionStart, a.selectionEnd); })()"
    )
    assert chosen == spec.split("\n")[line - 1]
