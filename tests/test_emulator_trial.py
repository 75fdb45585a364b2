"""Trials measured on the emulated device; and what happens where it cannot run."""

from pathlib import Path

import pytest
from support_emulator import needs_emulator
from support_trials import manual, tiny_data, tiny_spec

from sparsemod.calibration import calibrate, write
from sparsemod.emulator.toolchain import _missing
from sparsemod.errors import EnvironmentFailure
from sparsemod.objectives import Objectives
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import TrialResult
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import device, device_fits


def run(spec: ExperimentSpec) -> TrialResult:
    data = tiny_data(spec)
    space = Problem.of(spec, data.info).space
    parameters = space.complete({})
    return evaluate(spec, manual(parameters), epochs=1, seed=0, data=data)


def emulated(**changes: object) -> ExperimentSpec:
    return tiny_spec("cnn", space={}, measure={"device": "emulated"}, **changes)


@needs_emulator
def test_a_finished_trial_is_measured_on_its_device() -> None:
    spec = emulated(target={"device": "stm32h743"})
    result, again = run(spec), run(spec)
    found = {m.metric: m for m in result.measurements}
    assert found == {m.metric: m for m in again.measurements}
    for metric in ("latency", "instructions", "flash", "ram"):
        measured = found[metric]
        assert "emulated (QEMU" in measured.method and "-mcpu=cortex-m7 -O2" in measured.method
        assert measured.target == "stm32h743"
        assert measured.detail["predicted"] == pytest.approx(measured.value, rel=0.2)
        assert abs(measured.detail["prediction_error"]) < 0.2
    clock = device("stm32h743")
    assert found["latency"].value == clock.milliseconds(found["instructions"].value)
    assert "estimate" in found["latency"].method and "0.75 cycles per instruction" in found["latency"].method
    assert sum(found["instructions"].detail["layers"].values()) <= found["instructions"].value
    kernels = found["instructions"].detail["kernels"]
    assert list(kernels) == list(found["instructions"].detail["layers"])
    assert "generated" in kernels.values() and set(kernels.values()) <= {"generated", "shared"}
    # The planned objective equals the linked size.
    assert found["working_memory"].detail["definition"] == "arena"
    assert found["ram"].detail["static"] == (found["working_memory"].value + 3) // 4 * 4
    assert found["flash"].value > found["model_size"].value
    fits = {fit.device: fit for fit in device_fits(result.measurements)}
    assert fits["stm32h743"].milliseconds == found["latency"].value and fits["stm32h743"].fits
    assert "predicted for cortex-m0" in fits["rp2040"].basis


@needs_emulator
def test_a_measured_cost_over_its_budget_is_completed_but_not_feasible() -> None:
    spec = emulated()
    latency = run(spec).value("latency")
    predicted = run(tiny_spec("cnn", space={})).value("latency")
    assert latency is not None and predicted is not None
    limits = Objectives(spec.objectives, spec.reference(), {"latency": min(latency, predicted) / 2})
    assert not limits.feasible({"latency": latency})


def test_the_model_alone() -> None:
    result = run(tiny_spec("cnn", space={}))
    found = {m.metric: m for m in result.measurements}
    assert "operator model of cortex-m4" in found["latency"].method and not any(
        "operator model" in note for note in result.notes
    )
    assert found["flash"].method.startswith("predicted: code and constants")


def test_without_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _missing.cache_clear()
    result = run(tiny_spec("cnn", space={}, measure={"device": "auto"}))
    assert any("apt-get install" in note and "operator model" in note for note in result.notes)
    assert "operator model" in {m.metric: m for m in result.measurements}["latency"].method
    with pytest.raises(EnvironmentFailure, match="apt-get install"):
        run(emulated())


@needs_emulator
def test_a_budget_of_ram_limits_the_measured_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsemod.measure.predicted._stack", lambda model, work: 0.0)
    ram = {m.metric: m for m in run(emulated()).measurements}["ram"]
    assert ram.detail["predicted"] < ram.value, "the stack is deeper than what is predicted here"
    spec = emulated(budgets=[f"ram <= {ram.value - 1:g} B"])
    result = run(spec)
    assert result.state == "completed" and result.value("ram") == ram.value
    assert any("ram is 1 B over its budget; the plan" in note for note in result.notes)
    assert not spec.objectives_in_force().feasible({"ram": ram.value})
    tight = run(emulated(budgets=[f"ram <= {ram.detail['predicted'] - 1:g} B"]))
    assert tight.state == "infeasible" and not tight.curve


@needs_emulator
def test_a_network_that_exceeds_its_device_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = device("stm32f446").model_dump() | {"name": "small", "flash": 1024, "ram": 100}
    (tmp_path / "small.yaml").write_text("\n".join(f"{k}: {v}" for k, v in small.items() if v is not None))
    monkeypatch.setenv("SPARSEMOD_DEVICES", str(tmp_path))
    budgets = ["flash <= 1 MB", "ram <= 1 MB"]
    result = run(emulated(target={"device": "small"}, budgets=budgets))
    assert any("flash is exceeded by" in note for note in result.notes)
    assert any("RAM is exceeded by" in note for note in result.notes)
    fit = {fit.device: fit for fit in device_fits(result.measurements)}["small"]
    assert not fit.fits and set(fit.over) == {"flash", "RAM"}


@pytest.mark.long
@needs_emulator
def test_calibration_is_reproducible(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    model = calibrate(
        "m3", networks=16, held_out=6, seed=6, progress=lambda done, total: told.append((done, total))
    )
    again = calibrate("cortex-m3", networks=16, held_out=6, seed=6)
    assert model == again and told[-1] == (22, 22)
    assert model.calibration is not None and model.calibration.networks == 16
    write(model, tmp_path / "cortex-m3.yaml")
    assert "core: cortex-m3" in (tmp_path / "cortex-m3.yaml").read_text()
