"""Scales of objectives: places on them, hypervolume on them, and those of a spec."""

import math
from typing import Any

import numpy as np
import pytest

from sparsemod.errors import InvalidInput
from sparsemod.objectives import Objectives
from sparsemod.scales import Scale
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.extension import extended

BASE: dict[str, Any] = {"dataset": {"name": "digits"}, "network": {"family": "cnn"}}


def spec(**more: Any) -> ExperimentSpec:
    return ExperimentSpec.parse({**BASE, "objectives": ["error", "model_size"], **more})


@pytest.mark.parametrize(
    "scale",
    [
        Scale("linear", 0.0, 8.0), Scale("linear", 1.0, 8.0), Scale("log", 1.0, 1000.0), Scale("log", 0.0, 1.0, 0.003),
        Scale("log", 0.5, 8.0, 0.25),
    ],
)  # fmt: skip
def test_a_scale_goes_from_its_low_end_to_the_reference_and_back(scale: Scale) -> None:
    assert scale.unit([scale.low, scale.high]) == pytest.approx([0.0, 1.0])
    units = np.linspace(-0.3, 1.5, 7)
    assert scale.unit(scale.value(units)) == pytest.approx(units)
    values = np.linspace(0.0, 2 * scale.high, 50)
    assert np.all(np.diff(scale.unit(values)) > 0) and np.all(np.isfinite(scale.unit(values)))


def test_equal_ratios_are_equal_steps_of_a_logarithmic_scale() -> None:
    scale = Scale("log", 1.0, 1000.0)
    assert scale.unit([1.0, 10.0, 100.0, 10_000.0]) == pytest.approx([0.0, 1 / 3, 2 / 3, 4 / 3])


@pytest.mark.parametrize(
    ("kind", "low", "high", "offset", "field"),
    [
        ("cube", 0.0, 1.0, 0.0, "scale.kind"), ("linear", 1.0, 1.0, 0.0, "scale.low"), ("linear", -1.0, 1.0, 0.0, "scale.low"),
        ("log", 0.0, 1.0, 0.0, "scale.low"), ("log", 0.0, 1.0, -1.0, "scale.offset"), ("linear", 0.0, 1.0, 0.1, "scale.offset"),
        ("linear", math.nan, 1.0, 0.0, "scale.low"), ("log", 0.5, 1.0, math.nan, "scale.offset"),
    ],
)  # fmt: skip
def test_impossible_scales_are_refused(kind: Any, low: float, high: float, offset: float, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Scale(kind, low, high, offset)
    assert caught.value.field == field


def test_hypervolume_is_a_share_of_the_box_on_the_scales() -> None:
    scales = {"model_size": Scale("log", 10.0, 10_000.0)}
    objectives = Objectives(("error", "model_size"), {"error": 1.0, "model_size": 10_000.0}, {}, scales)
    rows = [{"error": 0.5, "model_size": 1000.0}, {"error": 0.75, "model_size": 100.0}]
    assert objectives.hypervolume(rows) == pytest.approx(0.5 * 1 / 3 + 0.25 * 1 / 3)
    # Values below the low end of a scale count like the low end, but still dominate.
    rows += [{"error": 0.75, "model_size": 1.0}, {"error": 0.75, "model_size": 0.5}]
    assert objectives.front(rows) == [0, 3]
    assert objectives.history(rows)[-1] == pytest.approx(0.5 * 1 / 3 + 0.25 * 2 / 3)
    with pytest.raises(InvalidInput, match=r"scales.error.high = 2"):
        Objectives(("error",), {"error": 1.0}, {}, {"error": Scale("linear", 0.0, 2.0)})


def test_costs_are_logarithmic_by_default_and_errors_linear() -> None:
    found = spec(reference_point={"error": 0.5, "size": "64 KB"}).objectives_in_force()
    assert found.scales == {"error": Scale("linear", 0.0, 0.5), "model_size": Scale("log", 65.536, 65536.0)}
    assert found.reference == {"error": 0.5, "model_size": 65536.0} and found.budgets["flash"] > 0


def test_a_spec_says_which_scales_it_means() -> None:
    mine = spec(
        scales={"error": "log", "size": {"kind": "log", "low": "1 KB"}}, reference_point={"size": "64 KB"}
    )
    assert ExperimentSpec.parse(mine.to_dict()) == mine
    assert mine.objectives_in_force().scales == {
        "error": Scale("log", 0.0, 1.0, 0.003), "model_size": Scale("log", 1024.0, 65536.0),
    }  # fmt: skip
    other = spec(scales={"error": {"kind": "log", "low": 0.001, "offset": 0}, "size": "linear"})
    assert other.objectives_in_force().scales["error"] == Scale("log", 0.001, 1.0)
    assert other.objectives_in_force().scales["model_size"].low == 0.0
    with pytest.raises(
        InvalidInput, match=r"scales.model_size.low = 2048.0: at least 0 and below the reference, 1024"
    ):
        spec(
            scales={"size": {"kind": "log", "low": "2 KB"}}, reference_point={"size": "1 KB"}
        ).objectives_in_force()


def test_version_1_means_linear_scales() -> None:
    old = ExperimentSpec.parse({**BASE, "version": 1, "objectives": ["error", "size"]})
    assert old.version == 2 and ExperimentSpec.parse(old.to_dict()) == old
    assert {scale.kind for scale in old.objectives_in_force().scales.values()} == {"linear"}
    assert set(ExperimentSpec.parse({**BASE, "version": 1}).scales) == set(spec().parse(BASE).objectives)
    assert ExperimentSpec.parse({**BASE, "version": 2}) == ExperimentSpec.parse(BASE)


def test_a_budget_that_is_loosened_moves_the_end_of_the_scale() -> None:
    longer = extended(spec(budgets={"model_size": "1 KB"}), {"r2": 1}, {"model_size": "4 KB"})
    assert longer.objectives_in_force().scales["model_size"] == Scale("log", 4.096, 4096.0)
