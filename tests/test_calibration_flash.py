"""The flash of a calibrated model: functions with known sizes, each once, and the code that is generated for shapes."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from support_emulator import needs_emulator

from sparsemod.calibration.calibrate import kernels_digest
from sparsemod.calibration.least_squares import fit
from sparsemod.calibration.samples import samples
from sparsemod.export.c import kernel_files
from sparsemod.measure.encodings import code_bytes
from sparsemod.measure.work import Work


@dataclass(frozen=True)
class Known:
    """A network whose parts have known sizes."""

    works: tuple[Work, ...]
    measured: Any
    own: dict[str, int] = field(default_factory=dict)
    constants: int = 1000


def known(kernels: str, steps: int = 0) -> Known:
    """A network of these kernels: `g` is generated, of 100 bytes and 50 a step; `a` and `b` call the function `helper`."""
    works = [
        Work(name, "dsp_g", {"call": 1.0, "steps": float(steps)}, code={"body": 1.0, "steps": float(steps)})
        if name == "g"
        else Work(name, name, {"call": 1.0}, encoding="mask" if name == "m" else "none")
        for name in kernels
    ]
    functions = {f"nn_{name}_0123abcd": 40 for name in kernels if name != "g"} | {"main": 10 + len(kernels)}
    functions |= {"helper": 300} if {"a", "b"} & set(kernels) else {}
    own = {"g": 100 + 50 * steps} if "g" in kernels else {}
    flash = (
        1000 + sum(functions.values()) - functions["main"] + sum(own.values()) + 16 * len(kernels.strip("g"))
    )
    measured = SimpleNamespace(
        functions=functions, flash=flash, stack=0, instructions=100 * len(kernels), per_layer=dict.fromkeys(kernels, 100)
    )  # fmt: skip
    return Known(tuple(works), measured, own)


def test_functions_and_generated_code_are_fitted_apart() -> None:
    found = [
        known(kernels, steps)
        for steps in range(1, 5)
        for kernels in ("g", "ga", "gb", "ab", "c", "cm", "ac", "gm")
    ]
    model = fit("cortex-m4", found)  # type: ignore[arg-type]
    helper = model.functions["helper"]
    assert (helper.bytes, helper.callers) == (300, ["a", "b"])
    assert "nn_a" in model.functions and not any(name.startswith("main") for name in model.functions)
    assert model.layer_code["dsp_g steps"] == pytest.approx(50, rel=0.1)
    for sample in found:
        total = code_bytes(model, sample.works) + sum(
            model.layer_code.get(work.kernel, 0.0) + model.layer_code.get(work.encoding, 0.0)
            for work in sample.works
        )
        assert 1000 + model.code.get("base", 0.0) + total == pytest.approx(sample.measured.flash, rel=0.02)


def test_equal_shapes_have_one_code() -> None:
    found = [known("g", steps) for steps in range(1, 9)] + [known("a"), known("ga", 2), known("c")]
    model = fit("cortex-m4", found)  # type: ignore[arg-type]
    (one,), (other,) = known("g", 2).works, known("g", 3).works
    assert code_bytes(model, [one, one]) == code_bytes(model, [one]) < code_bytes(model, [one, other])


def test_a_digest_holds_the_kernels_of_the_core_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {core: kernels_digest(core) for core in ("cortex-m0", "cortex-m3", "cortex-m4")}
    assert len(set(before.values())) == 3
    changed = {**kernel_files.kernel_sources(), "nn_dsp.h": "/* changed */"}
    monkeypatch.setattr(kernel_files, "kernel_sources", lambda: changed)
    assert all(kernels_digest(core) == before[core] for core in ("cortex-m0", "cortex-m3"))
    assert kernels_digest("cortex-m4") != before["cortex-m4"]


@needs_emulator
def test_samples_of_a_core_with_its_own_kernels_also_run_the_shared_ones() -> None:
    own, shared = (list(samples("cortex-m4", 3, 2, shared=each)) for each in (False, True))
    kernels = [{work.kernel for sample in found for work in sample.works} for found in (own, shared)]
    assert any(name.startswith("dsp_") for name in kernels[0])
    assert not any(name.startswith("dsp_") for name in kernels[1])
    for sample in own:
        generated = {work.layer for work in sample.works if work.kernel.startswith("dsp_")}
        assert set(sample.own) == generated
        assert sum(sample.own.values()) < sample.measured.flash - sample.constants
    assert not any(sample.own for sample in shared)
