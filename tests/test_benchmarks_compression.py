"""The benchmarks of compression and of lottery tickets: a run of a few tiny networks, and the numbers of their tables."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsemod.records import Candidate, Measurement, TrialRecord, TrialState

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(request: pytest.FixtureRequest) -> Iterator[Any]:
    name = f"benchmark_{request.param}"
    found = importlib.util.spec_from_file_location(name, FOLDER / f"{request.param}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


@pytest.mark.long
@pytest.mark.parametrize("benchmark", ["compression"], indirect=True)
def test_pruned_and_dense_networks_are_compared(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(benchmark.METHODS) >= 10 and benchmark.RATIOS == (2, 4, 8, 16, 32)
    monkeypatch.setattr(benchmark, "METHODS", ("magnitude", "filters"))
    monkeypatch.setattr(benchmark, "RATIOS", (2, 8))
    size = benchmark.Size(200, 2, 1, 1, 4)
    benchmark.run("digits", size, tmp_path)
    found = benchmark.Found.read("digits", tmp_path)
    assert len(found.references) == 1 and len(found.dense) == 4
    assert {key: len(rows) for key, rows in found.pruned.items()} == {
        (method, ratio): 1 for method in ("magnitude", "filters") for ratio in (2, 8)
    }
    (smaller,), (small,) = found.pruned["filters", 8], found.pruned["filters", 2]
    assert all(smaller.values()[cost] < small.values()[cost] for cost in benchmark.COSTS)
    for row in (small, smaller):
        cheaper = [one for one in found.dense if one.values()["flash"] <= row.values()["flash"]]
        expected = min((one.values()["error"] for one in cheaper), default=None)
        assert found.dense_error(row, "flash") == expected
    text = benchmark.tables(found)
    reference = found.references[0].values()
    assert (
        f"Reference: error {100 * reference['error']:.1f} %, flash {reference['flash'] / 1000:.1f} kB" in text
    )
    assert f"| {100 * small.values()['error']:.1f} · {small.values()['flash'] / 1000:.1f} |" in text
    benchmark.draw([found], tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text().count("magnitude") >= 1


def network(error: float, flash: float, ram: float, instructions: float) -> TrialRecord:
    values = {"error": error, "flash": flash, "ram": ram, "instructions": instructions}
    measured = [Measurement(metric=name, value=value, unit="", method="x") for name, value in values.items()]
    return TrialRecord(
        index=0, state=TrialState.COMPLETED, candidate=Candidate(parameters={}, origin="grid", round="grid"), epochs=1, seed=0,
        measurements=tuple(measured),
    )  # fmt: skip


@pytest.mark.parametrize("benchmark", ["compression"], indirect=True)
def test_a_network_is_beaten_by_one_dense_network_that_is_worse_in_nothing(benchmark: Any) -> None:
    pruned = network(0.2, 1000, 500, 9000)
    others = {
        "equal": network(0.2, 1000, 500, 9000), "better": network(0.1, 900, 400, 8000), "more errors": network(0.3, 900, 400, 8000),
        "more RAM": network(0.1, 900, 501, 8000),
    }  # fmt: skip
    beats = {
        name: benchmark.Found("digits", [], {}, [one]).beaten(pruned, benchmark.COSTS)
        for name, one in others.items()
    }
    assert beats == {"equal": True, "better": True, "more errors": False, "more RAM": False}
    neither = benchmark.Found(
        "digits", [], {("filters", 2): [pruned]}, [others["more errors"], others["more RAM"]]
    )
    assert not neither.beaten(pruned, benchmark.COSTS)
    line = "| `filters` | 0 of 1 | +10.0 (+10.0 to +10.0) | +10.0 (+10.0 to +10.0) |"
    assert benchmark.against_dense(neither)[2:] == [line]
    small = benchmark.Found("digits", [], {("filters", 2): [network(0.2, 1, 1, 1)]}, neither.dense)
    assert benchmark.against_dense(small)[2].count("no dense network is that small") == 2


@pytest.mark.parametrize("benchmark", ["lottery"], indirect=True)
def test_iterations_and_intervals(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.interval([1.0, 2.0, 3.0]) == (
        2.0,
        pytest.approx(2.4841, abs=1e-3),
    )  # t of two degrees: 4.3027
    losses = np.array([0.9, 0.5, 0.6, 0.4])
    assert benchmark.reached(losses, 100, 0.5) == 200.0 and benchmark.reached(losses, 100, 0.1) is None
    histories = [{"val_loss": losses, "test_acc": np.array([0.5, 0.7, 0.6, 0.8]), "plot_step": 100}] * 2
    assert benchmark.row("ticket", histories, [0.5, 0.1]) == [200.0, 400.0]
    printed = capsys.readouterr().out
    assert printed.startswith("| ticket | 400 ± 0 | 80.00 ± 0.00 | 300 ± ") and printed.endswith(
        "| 1 of 2 |\n"
    )
