"""The benchmark of substitutes at budgets: settings, specs, intervals, and the tables of a run."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsemod.data import Arrays
from sparsemod.networks.zoo import network
from sparsemod.substitutes import SUBSTITUTES, create
from sparsemod.substitutes.costs import parameters_of


@pytest.fixture
def budgets() -> Iterator[Any]:
    place = Path(__file__).parent.parent / "benchmarks" / "laboratory_budgets.py"
    found = importlib.util.spec_from_file_location("laboratory_budgets", place)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["laboratory_budgets"] = module
    try:
        found.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["laboratory_budgets"]


def test_every_substitute_has_a_setting_and_every_run_a_spec(budgets: Any) -> None:
    found = budgets.chosen("digits")
    free = {name for name in SUBSTITUTES.names() if SUBSTITUTES.get(name).setting is not None}
    assert {one.name.split("_")[0] for one in found} == free | {"none", "Sep"}
    cost = parameters_of(network("wrn-10-0.5").build((1, 8, 8), 10))
    whole = cost(create("Conv"))
    for one in found:
        if one.name != "none":
            assert cost(create(one.name)) == one.parameters < whole
            near = abs(one.parameters / (one.share * whole) - 1) <= 0.01
            assert one.met == near or one.name == "Sep"
    runs = dict(budgets.specs("digits", budgets.SIZES["digits"]))
    first = [
        "alone 1",
        "alone 0.5",
        "alone 0.25",
        "alone 0.15",
        "teacher 0.25",
        "unscaled 0.25",
        "scaled 0.25",
    ]
    assert list(runs)[:7] == first
    # Without a substitute there is no other decay; half of the parameters is more than SepHashed has.
    assert list(runs)[7:] == [
        "teacher 1", "teacher 0.5", "unscaled 0.5", "teacher 0.15", "unscaled 0.15", "scaled 0.15"
    ]  # fmt: skip
    assert runs["teacher 0.5"].training.teacher is not None and runs["alone 1"].training.teacher is None
    decays = [runs[name].training.scale_decay for name in ("alone 0.5", "unscaled 0.15", "scaled 0.25")]
    assert decays == ["auto", "off", "on"]
    assert all(name.startswith("SepHashed") for name in runs["scaled 0.25"].source.values["substitute"])


def test_the_images_of_two_datasets_are_halved(budgets: Any) -> None:
    x = np.arange(32, dtype=np.uint8).reshape(1, 2, 4, 4)
    x, labels = np.repeat(x, 2, 0), np.arange(2)
    small = budgets.halved(Arrays(x, labels, x, labels))
    assert small.x.tolist() == small.test_x.tolist() == 2 * [[[[3, 5], [11, 13]], [[19, 21], [27, 29]]]]
    assert small.x.dtype == np.uint8 and budgets.SIZES["cifar10"].shape == (3, 16, 16)


def test_intervals(budgets: Any) -> None:
    assert budgets.interval([1.0, 2.0, 3.0]) == (2.0, pytest.approx(2.4841, abs=1e-3))
    change, half = budgets.difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert change == 1.0 and half == pytest.approx(
        2.7764 * (2 / 3) ** 0.5, abs=1e-3
    )  # four degrees of freedom
    assert budgets.difference([1.0, 1.0], [2.0, 2.0]) == (1.0, 0.0)
    assert budgets.percent((0.0123, 0.004), sign=True) == "+1.2 ± 0.4"


def test_the_table_has_a_line_for_each_form_that_ran(
    budgets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"error": 0.1 + 0.01 * one, "flash": 2048.0, "instructions": 5000.0} for one in range(2)]
    names = [one.name for one in budgets.chosen("digits") if one.share == 0.25][:2]
    runs = {"alone 0.25": {name: rows for name in names}, "teacher 0.25": {names[0]: rows}}
    for name in runs:
        (tmp_path / "digits" / name).mkdir(parents=True)
    monkeypatch.setattr(budgets, "read", lambda folder: runs.get(folder.name, {}))
    budgets.report("digits", tmp_path)
    lines = capsys.readouterr().out.splitlines()[5:]
    assert len(lines) == 2 and all(" 10.5 ± 6.4 " in line and line.endswith("| 2.0 | 5 |") for line in lines)
    assert sum("+0.0 ± " in line for line in lines) == 1
