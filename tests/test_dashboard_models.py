"""The page of uploaded models: the list, the table of layers, an upload, and the search that starts from a model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_dashboard import Seeded, Watched, violations
from support_export import Every, quantized
from support_stream import served

from service.files.artifacts import ArtifactFiles
from service.http.app import create_app
from service.settings import Settings
from service.store import Store
from sparsemod.export.model_report import ModelReport
from sparsemod.importing import Imported
from sparsemod.pipeline.model_report import report_on

pytestmark = pytest.mark.long

EVIL = '<img src=x onerror="window.hacked=1">'


def report(**changes: Any) -> ModelReport:
    network = quantized(Every)
    model = Imported("every", "ONNX, float", network.input_shape, network=network)
    found = report_on(model, network, "stm32f446", notes=["activation ranges are from random inputs"])
    return found.model_copy(update={"trainable": True, **changes})


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """A measured float model, an int8 one with a hostile text, and one that failed."""
    folder = tmp_path_factory.mktemp("models")
    settings = Settings(data_dir=folder)
    store = Store.open(settings.url)
    files = ArtifactFiles(settings.artifacts_dir, 10**8)
    reports = (report(), report(trainable=False, notes=(EVIL,), name=EVIL), None)
    for number, one in enumerate(reports):
        info = files.add(b"model %d" % number, store)
        model = store.add_model(f"model{number}.onnx", info.digest, info.size, "stm32f446", None)
        claimed = store.claim_model(60.0)
        assert claimed is not None
        plain = None if one is None else one.model_dump(mode="json")
        store.end_model(model.id, claimed[1], report=plain, failure=None if one else f"no model: {EVIL}")
    with served(create_app(settings, store=store)) as url:
        yield Seeded(url, store)
    store.close()


@pytest.fixture
def page_url(seeded: Seeded) -> str:
    return seeded.url


def test_the_list_and_the_layers_of_a_model(watched: Watched) -> None:
    page = watched.open("#/models")
    page.get_by_role("link", name="model0.onnx", exact=True).click()
    page.get_by_role("heading", name="model0.onnx", exact=True).wait_for()
    table = page.get_by_role("group", name="Table of layers")
    layers = report().layers
    table.get_by_role("rowheader", name=layers[0].name, exact=True).wait_for()
    assert table.locator("tbody tr").count() == len(layers)
    row = table.locator(f"tr:has(th:text-is('{layers[0].name}'))").inner_text()
    assert "conv" in row and "8 × 8 × 8" in row and str(layers[0].macs) in row
    assert page.get_by_role("group", name="Devices").locator("tbody tr").count() >= 6
    assert "random inputs" in page.locator("main").inner_text()


def test_a_search_starts_from_the_page(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/models/1")
    page.get_by_label("Budgets").fill("flash <= 64 KB")
    page.get_by_label("Dataset").select_option("digits")
    page.get_by_label("Networks to train").fill("1")
    page.get_by_label("Networks to train").fill("4")
    page.get_by_label("Pruning methods").fill("guess")
    page.get_by_role("button", name="Start the search").click()
    page.locator("form [role=alert]").wait_for()
    assert "guess" in page.locator("form [role=alert]").inner_text()
    page.get_by_label("Pruning methods").fill("filters, alds")
    page.get_by_role("button", name="Start the search").click()
    page.get_by_role("heading", name="model0 compressed", exact=True).wait_for()
    spec = seeded.store.experiment(seeded.store.experiments(1, 0, None)[0][0].id).spec
    assert spec.network.family == "imported" and spec.budgets == {"flash": 65536.0}


def test_an_upload_from_the_page(watched: Watched, tmp_path: Path) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"\x08\x07garbage")
    page = watched.open("#/models")
    page.get_by_label("File").set_input_files(str(file))
    page.get_by_role("button", name="Upload and measure").click()
    page.get_by_role("heading", name="broken.onnx", exact=True).wait_for()
    page.locator("main [role=alert]").wait_for()
    assert "broken.onnx" in page.locator("main [role=alert]").inner_text()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator("dialog").get_by_role("button", name="Delete model").click()
    page.get_by_role("heading", name="Models", exact=True).wait_for()
    page.get_by_role("link", name="broken.onnx").wait_for(state="detached")


@pytest.mark.parametrize("view", ["#/models", "#/models/1", "#/models/2", "#/models/3"])
def test_text_stays_text_and_axe_finds_nothing(watched: Watched, view: str) -> None:
    page = watched.open(view)
    page.locator("table, [role=alert]").first.wait_for()
    for scheme, width in (("light", 1300), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        assert violations(page) == []
        assert (
            page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        )
    assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0
