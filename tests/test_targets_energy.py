"""Energy: a metric where the device's profile states its power."""

from pathlib import Path
from typing import Any

import pytest
from support_emulator import needs_emulator
from support_trials import manual, tiny_data, tiny_spec

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.pipeline.deployment import encoding_goal
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import Screen
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import TrialResult
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import device, load_device
from sparsemod.units import METRICS

PROFILE = """\
name: board
title: A board whose power was measured
core: cortex-m4
clock: 64000000
flash: 1048576
ram: 262144
cycles_per_instruction: 1.25
power:
  run: {milliwatts: 32.0, source: measured at 3.0 V}
  slow: {milliwatts: 9.0, clock: 16000000, source: measured at 3.0 V}
source: a test
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "board.yaml").write_text(PROFILE)
    monkeypatch.setenv("SPARSEMOD_DEVICES", str(tmp_path))
    return "board"


def spec_of(board: str, mode: str | None = None, **changes: Any) -> ExperimentSpec:
    return tiny_spec("cnn", space={}, target={"device": board, "power_mode": mode}, **changes)


def run(spec: ExperimentSpec) -> TrialResult:
    data = tiny_data(spec)
    return evaluate(spec, manual(Problem.of(spec, data.info).space.complete({})), epochs=1, seed=0, data=data)


def test_energy_by_hand(board: str) -> None:
    profile = device(board)
    # 64,000 instructions x 1.25 = 80,000 cycles: 1.25 ms at 64 MHz and 32 mW, 5 ms at 16 MHz and 9 mW
    assert profile.millijoules(64_000, profile.mode()[1]) == pytest.approx(1.25e-3 * 32)
    assert profile.millijoules(64_000, profile.mode("slow")[1]) == pytest.approx(5e-3 * 9)
    assert METRICS["energy"].show(0.04) == "40 µJ"
    assert METRICS["energy"].parse("40 uJ", "budgets.energy") == pytest.approx(0.04)
    with pytest.raises(UnknownName, match=r"target\.power_mode.*fast.*run, slow"):
        profile.mode("fast")


@pytest.mark.parametrize("mode", [None, "slow"])
def test_energy_is_predicted_and_says_how(board: str, mode: str | None) -> None:
    spec = spec_of(board, mode, objectives=["error", "energy"], budgets={"energy": "1 mJ"})
    problem = Problem.of(spec, tiny_data(spec).info)
    found = Screen(problem).measure(problem.space.complete({}))
    profile = device(board)
    name, power = profile.mode(mode)
    energy = found["energy"]
    assert (
        energy.value == pytest.approx(profile.millijoules(found["instructions"].value, power), rel=1e-4)
        and energy.unit == "mJ"
    )
    assert (
        energy.method.startswith("estimate") and f"mode {name} as stated: measured at 3.0 V" in energy.method
    )
    assert f"{power.milliwatts:g} mW at {(power.clock or profile.clock) / 1e6:g} MHz" in energy.method
    goal = encoding_goal(problem)
    assert goal.instructions and not goal.flash
    assert goal.most_instructions == pytest.approx(1.0 / profile.millijoules(1.0, power))


@needs_emulator
def test_a_finished_trial_has_the_energy_of_its_counted_instructions(board: str) -> None:
    found = {m.metric: m for m in run(spec_of(board, measure={"device": "emulated"})).measurements}
    profile = device(board)
    assert found["energy"].value == profile.millijoules(found["instructions"].value, profile.mode()[1])
    assert "emulated (QEMU" in found["energy"].method and found["energy"].detail["predicted"] > 0


def test_a_budget_of_energy_decides_whether_a_trial_is_feasible(board: str) -> None:
    energy = run(spec_of(board)).value("energy")
    for factor, feasible in ((1.01, True), (0.5, False)):
        spec = spec_of(board, budgets={"energy": f"{factor * energy} mJ"})
        result = run(spec)
        values = {m.metric: m.value for m in result.measurements}
        assert spec.objectives_in_force().feasible(values) is feasible


def test_a_device_without_power_has_no_energy() -> None:
    assert "energy" not in {m.metric for m in run(tiny_spec("cnn", space={})).measurements}
    for changes, field in (
        ({"objectives": ["error", "energy"]}, "objectives"),
        ({"budgets": {"energy": 1.0}}, "budgets.energy"),
    ):
        with pytest.raises(InvalidInput, match=rf"{field}.*stm32f446 states none"):
            tiny_spec("cnn", space={}, **changes).all_budgets()
    with pytest.raises(InvalidInput, match=r"target\.power_mode.*states no power"):
        tiny_spec("cnn", space={}, target={"device": "stm32f446", "power_mode": "run"}).all_budgets()


def test_a_float_network_has_no_energy(board: str) -> None:
    spec = spec_of(board, objectives=["error", "energy"], quantization={"scheme": "none"})
    with pytest.raises(InvalidInput, match=r"objectives.*int8"):
        spec.all_budgets()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{milliwatts: 0, source: x}", r"power\.run\.milliwatts.*greater than 0"),
        ("{milliwatts: 3}", r"power\.run\.source.*is missing; Where the power comes from"),
        (
            "{milliwatts: 3, source: x, volts: 3}",
            r"power\.run\.volts.*unknown key; known here: milliwatts, clock, source",
        ),
        ("32.0", r"power\.run.*32\.0"),
    ],
)
def test_a_bad_power_names_its_field(tmp_path: Path, bad: str, message: str) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(PROFILE.replace("{milliwatts: 32.0, source: measured at 3.0 V}", bad))
    with pytest.raises(InvalidInput, match=message):
        load_device(path)


def test_a_bad_mode_names_its_key(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(PROFILE.replace("  run:", "  Full Power:"))
    with pytest.raises(InvalidInput, match=r"power\.Full Power"):
        load_device(path)


def test_the_profile_in_the_docs_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "device.md").read_text()
    power = page[page.index("power:\n") :].partition("```")[0]
    path = tmp_path / "board.yaml"
    path.write_text(PROFILE[: PROFILE.index("power:")] + power + "source: a test\n")
    assert list(load_device(path).power) == ["run", "slow"]
