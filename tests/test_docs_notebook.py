"""The example notebooks are executed as a user would: every cell in order, in an empty folder."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support_docs import EXAMPLES, ROOT

NOTEBOOK, LOTTERY = EXAMPLES / "first_search.ipynb", EXAMPLES / "lottery.ipynb"


def test_all_notebooks_are_executed() -> None:
    assert sorted(EXAMPLES.rglob("*.ipynb")) == [NOTEBOOK, LOTTERY]


@pytest.mark.parametrize("path", [NOTEBOOK, LOTTERY], ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    """Outputs would fall behind the code. `jupyter nbconvert --clear-output --inplace` removes them."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None), (
            cell.source
        )
    assert nbformat.writes(notebook) + "\n" == path.read_text()


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Any]], Path]:
    """The first notebook, executed."""
    return execute(NOTEBOOK, tmp_path_factory.mktemp("notebook"))


def execute(path: Path, folder: Path) -> tuple[dict[str, list[Any]], Path]:
    """Source of each code cell -> its outputs; and the folder in which it ran."""
    notebook = nbformat.read(path, as_version=4)
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("MPLBACKEND", raising=False)  # the kernel chooses the inline one
        NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(folder)}}).execute()
    return {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}, folder


def kinds(outputs: list[Any]) -> set[str]:
    return {kind for output in outputs for kind in output.get("data", {})}


@pytest.mark.long
def test_every_cell_shows_the_output_that_its_text_describes(
    executed: tuple[dict[str, list[Any]], Path],
) -> None:
    cells, folder = executed
    shown = {source.splitlines()[-1]: outputs for source, outputs in cells.items()}
    assert not [
        output
        for outputs in cells.values()
        for output in outputs
        if output.output_type in ("stream", "error")
    ]
    bar, summary = shown["results"]
    assert "12/12" in bar.data["text/plain"] and "text/html" in bar.data
    assert "12 completed" in summary.data["text/html"] and "The Pareto front" in summary.data["text/html"]
    assert kinds(shown["results.plot();"]) == {"image/png", "text/plain"}
    frames = [outputs for source, outputs in shown.items() if source.endswith('"]]')]
    assert len(frames) == 2 and all("<table" in outputs[0].data["text/html"] for outputs in frames)
    assert "error" in shown['results.best(error="<= 20 %")'][0].data["text/html"]
    best = folder / "runs" / "first-search" / "best"
    assert (best / "card.html").is_file() and list(best.glob("c/*.c")) and list(best.glob("onnx/*.onnx"))


@pytest.mark.long
def test_the_lottery_notebook_trains_and_draws(tmp_path: Path) -> None:
    cells, folder = execute(LOTTERY, tmp_path)
    shown = {source.splitlines()[-1]: outputs for source, outputs in cells.items()}
    assert all(
        output.output_type not in ("stream", "error") for outputs in cells.values() for output in outputs
    )
    for drawn in ("lottery_figure", "plot_early_stop_iterations"):
        outputs = next(outputs for source, outputs in shown.items() if source.startswith(drawn))
        assert "image/png" in kinds(outputs)
    images = shown["    display(image)"]
    assert len(images) == 3 and all("image/png" in image.data for image in images)
    (random,) = shown['random["val_acc"].shape']
    assert random.data["text/plain"].startswith("(2, 4, ")
    results = folder / "runs" / "lottery-imp-digits"
    assert (results / "lenet-mnist-histories.npz").is_file() and (results / "lineage.json").is_file()
