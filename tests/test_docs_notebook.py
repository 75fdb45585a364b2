"""The example notebook is executed as a user would: every cell in order, in an empty folder."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support_docs import EXAMPLES, ROOT

NOTEBOOK = EXAMPLES / "first_search.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    """Outputs would fall behind the code. `jupyter nbconvert --clear-output --inplace` removes them."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None), (
            cell.source
        )
    assert nbformat.writes(notebook) + "\n" == NOTEBOOK.read_text()


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Any]], Path]:
    """Source of each code cell -> its outputs; and the folder in which it ran."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
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
