"""Kernels that are generated for one shape, on cores with DSP instructions: the interpreter's bytes, wherever they run."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_dsp import KINDS, drawn
from support_emulator import needs_emulator
from support_programs import needs
from torch import nn

from sparsemod.arena import plan as plan_arena
from sparsemod.emulator import Emulator, build
from sparsemod.emulator.program import flat_inputs, program
from sparsemod.export.c import generate, host_run, plan
from sparsemod.export.c.host import FLAGS, host_run_all
from sparsemod.export.c.networks import kernel_choices
from sparsemod.graph import capture, deployed
from sparsemod.kinds.dsp import DspConv, Turns, dsp_conv
from sparsemod.kinds.windows import Window
from sparsemod.measure.encodings import EncodingGoal
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.predicted import chosen_encodings, predict
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.packing import unpacked
from sparsemod.targets import operator_model

EMULATED = (*FLAGS, "-DNN_DSP_EMULATED")
SANITIZED = (*EMULATED, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class Mixed(nn.Module):
    """Layers of every kind, two of them with the same shape, behind an odd number of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.alike = nn.ModuleList(nn.Conv2d(6, 6, 1) for _ in range(2))
        self.depthwise = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6)
        self.head = nn.Linear(6 * 3 * 4 + 3, 5)

    def forward(self, few: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image).relu()
        for layer in self.alike:
            x = layer(x).relu()
        return self.head(torch.cat([self.depthwise(x).relu().flatten(1), few], 1))


def mixed() -> tuple[IntegerNetwork, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    samples = {"few": torch.randn(16, 3), "image": torch.randn(16, 3, 5, 7)}
    network = quantize(Mixed().eval(), samples)
    assert isinstance(network, IntegerNetwork)
    return network, {name: values[:3] for name, values in network.quantize_named(samples).items()}


def specials(network: IntegerNetwork, core: str = "cortex-m4") -> list[str]:
    return [layer.name for layer in generate(network, core=core).layers if layer.special]


@needs("gcc", package="gcc")
@pytest.mark.slow(every=5)
@pytest.mark.parametrize("seed", range(10))
def test_one_layer_of_every_kind_on_this_machine(seed: int) -> None:
    cases = [drawn(kind, seed) for kind in KINDS]
    for flags in (SANITIZED, FLAGS):
        for (network, images), outputs in zip(cases, host_run_all(cases, flags=flags), strict=True):
            (layer,) = network.layers
            assert specials(network) == [layer.name]
            assert np.array_equal(outputs, network.run(images)), layer.name


@needs_emulator
@pytest.mark.slow(every=3)
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os", "-Os -fno-omit-frame-pointer"])
def test_one_layer_of_every_kind_on_m4(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        build,
        "FLAGS",
        tuple(each for flag in build.FLAGS for each in (level.split() if flag == "-O2" else [flag])),
    )
    cases = [*(drawn(kind, seed) for seed in range(10, 15) for kind in KINDS), long_sums()]
    for (network, images), outputs in zip(cases, Emulator("cortex-m4").outputs(cases), strict=True):
        assert np.array_equal(outputs, network.run(images)), network.layers


LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Og")
FEWER_REGISTERS = ("-fno-omit-frame-pointer", "-fPIC", "-fstack-protector-all")


@needs("arm-none-eabi-gcc", package="gcc-arm-none-eabi")
@pytest.mark.slow(every=8)
@pytest.mark.parametrize(
    "core",
    [
        "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16",
        "-mcpu=cortex-m4 -mfloat-abi=soft",
        "-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-d16",
        "-mcpu=cortex-m33 -mfloat-abi=soft",
        "-mcpu=cortex-m55 -mfloat-abi=hard",
    ],
)
def test_compilers_find_registers_at_every_level(core: str, tmp_path: Path) -> None:
    sources: set[str] = set()
    for number, (network, _) in enumerate(
        [*(drawn(kind, seed) for kind in KINDS for seed in range(3)), long_sums()]
    ):
        made = generate(network, name=f"net{number}")
        for file, content in made.files.items():
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(content)
        sources |= set(made.sources)

    def run(*flags: str) -> None:
        done = subprocess.run(["arm-none-eabi-gcc", *core.split(), "-mthumb", "-std=c99", "-I.", *flags], cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr

    generated = sorted(file for file in sources if "nn_dsp" in file)
    for level in LEVELS:
        run(level, "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-S", *generated)
    for flag in FEWER_REGISTERS:
        run("-Os", flag, "-S", *generated)
    run("-O2", "-flto", "-c", *sorted(sources))
    run("-O2", "-flto", "-flinker-output=nolto-rel", "-r", "-nostdlib", "-o", "all.o", *(f"{Path(file).stem}.o" for file in sorted(sources)))  # fmt: skip


def long_sums() -> tuple[IntegerNetwork, np.ndarray]:
    """A convolution whose sums are loops with a rest."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(13, 11, 3, padding=1), nn.ReLU())
    network = quantize(module.eval(), torch.randn(16, 13, 6, 5))
    assert isinstance(network, IntegerNetwork)
    network = replace(network, core="cortex-m4")
    assert specials(network)
    return network, network.quantize_input(torch.randn(2, 13, 6, 5).numpy())


@needs_emulator
@pytest.mark.slow(every=4)
@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m33", "cortex-m3"])
def test_inputs_at_odd_addresses_on_every_core(core: str) -> None:
    network, inputs = mixed()
    assert len(specials(network, core)) == (5 if core in ("cortex-m7", "cortex-m33") else 0)
    found = Emulator(core).measure(network, inputs)
    assert np.array_equal(found.named["output"], network.run_named(inputs)["output"])
    assert found.static_ram == (found.arena + 3) // 4 * 4


@needs_emulator
def test_newer_cores_run_the_kernels_of_a_project_for_m4() -> None:
    network, inputs = mixed()
    emulator, flat = Emulator("cortex-m55"), flat_inputs(network, inputs)
    own, shared = (emulator.run(program(network, core), flat) for core in ("cortex-m4", ""))
    assert np.array_equal(unpacked(network, own.outputs)["output"], network.run_named(inputs)["output"])
    assert any("nn_dsp" in name for name in own.functions) and own.instructions < 0.8 * shared.instructions


@needs_emulator
def test_the_kernels_need_fewer_instructions() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU()
    )
    network = quantize(module.eval(), torch.randn(16, 8, 12, 12))
    own, plain = (Emulator(core).measure(network) for core in ("cortex-m4", "cortex-m3"))
    for layer in own.per_layer:
        assert own.per_layer[layer] < 0.5 * plain.per_layer[layer], layer


def test_the_plan_before_training_holds_the_columns() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 40, 1)
    ).eval()
    graph = deployed(capture(module, (8, 6, 6)))
    network = quantize(module, torch.randn(16, 8, 6, 6))
    for core, scratch in (("", 9 * 8), ("cortex-m3", 9 * 8), ("cortex-m4", 8 * 3 * 12 + 3)):
        size = plan(network, core).size
        assert (
            size
            == plan_arena(graph_layout(graph, core).problem).size
            == generate(network, core=core).arena.size
        )
        assert size == 8 * 36 + scratch, (
            f"{core}: the first result overwrites the input, of twice the channels"
        )
    assert plan(replace(network, core="cortex-m4")).size == plan(network, "cortex-m4").size


def test_equal_shapes_share_a_kernel() -> None:
    network, _ = mixed()
    made = generate(replace(network, core="cortex-m7"))
    kernels = [path for path in made.sources if "nn_dsp_conv" in path]
    calls = re.findall(r"nn_dsp_conv_\w+\(arena|nn_dsp_conv_\w+\(input", made.files["network.c"])
    assert len(calls) == 3 and len(kernels) <= 3
    assert set(kernels) == {f"kernels/{call.partition('(')[0]}.c" for call in calls}


def test_numbers_out_of_range_keep_the_plain_kernel() -> None:
    network, images = drawn("conv", 3)
    (layer,) = network.layers
    assert specials(network) == ["conv"] and not specials(network, "cortex-m3") and not specials(network, "")
    wide = replace(
        layer, multiplier=np.full_like(layer.multiplier, 2**30), shift=np.full_like(layer.shift, 8)
    )  # type: ignore[call-arg]
    sparse = replace(network, encodings={"conv": "mask"})
    large = replace(layer, bias=np.full_like(layer.bias, 2**23))  # type: ignore[call-arg]
    for other in (replace(network, layers=(wide,)), replace(network, layers=(large,)), sparse):
        assert not specials(other)
        assert np.array_equal(host_run(other, images, flags=EMULATED), other.run(images))


def test_every_layer_says_why_it_runs_the_shared_kernel() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, dilation=2), nn.ReLU(), nn.Conv2d(4, 4, 5, groups=4), nn.Conv2d(4, 4, 3, groups=2), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.Flatten(), nn.Linear(100, 9), nn.ReLU(), nn.Linear(9, 3),
    )  # fmt: skip
    network = quantize(module.eval(), torch.randn(16, 2, 20, 20))
    assert isinstance(network, IntegerNetwork)
    weighted = [layer.name for layer in network.weighted()]
    network = replace(network, core="cortex-m4", encodings={weighted[4]: "plain", weighted[5]: "mask"})
    found = kernel_choices(network, "cortex-m4")
    assert [found[name] for name in weighted] == [
        "shared: a dilation of 2 x 2", "shared: a depthwise window of 5 x 5, not 3 x 3", "shared: 2 groups", "generated",
        "shared: chosen for its smaller flash", "shared: its weights are stored as mask",
    ]  # fmt: skip
    assert set(found.values()) - {found[name] for name in weighted} == {"shared"}, "the pool"
    assert kernel_choices(network, "cortex-m3") == {}
    readme = generate(network).files["README.md"]
    assert readme.count("| yes |") == 1 and "| no: 2 groups |" in readme
    assert "cortex-m4" not in generate(network, core="").files["README.md"]


def test_the_limits_choose_between_generated_and_shared_kernels() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3)
    ).eval()
    graph = deployed(capture(module, (3, 12, 12)))
    nonzeros = {o.name: graph.state[o.weight].numel() for o in graph.operators if o.weight}
    model = operator_model("cortex-m4")

    def costs(**limits: float) -> tuple[float, float, set[str]]:
        chosen = chosen_encodings(graph, nonzeros, EncodingGoal(flash=False, **limits))
        found = predict(graph, model, nonzeros=nonzeros, encodings=chosen)
        return found.flash, found.instructions, set(chosen.values())

    fast = costs()
    small = costs(most_flash=1.0)
    assert (fast[2], small[2]) == ({"dense"}, {"plain"}) or small[2] == {"dense", "plain"}
    assert fast[1] < 0.6 * small[1] and small[0] < fast[0]
    between = costs(most_flash=fast[0] - 1)
    assert between[2] == {"dense", "plain"} and between[0] < fast[0] and fast[1] < between[1] <= small[1]


def test_the_network_file_keeps_the_core() -> None:
    network, _ = drawn("linear", 1)
    assert IntegerNetwork.from_bytes(network.to_bytes()).core == "cortex-m4"
    assert b'"core"' not in replace(network, core="").to_bytes()


@needs("arm-none-eabi-gcc", package="gcc-arm-none-eabi")
def test_only_code_for_such_cores_holds_the_kernels(tmp_path: Path) -> None:
    made = generate(drawn("conv", 3)[0])
    made_in = tmp_path / "project"
    made.write(made_in)

    def symbols(*flags: str) -> str:
        command = ["arm-none-eabi-gcc", *flags, "-mthumb", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-I.", "-r", "-nostdlib", "-o", "all.o", *made.sources]  # fmt: skip
        subprocess.run(command, cwd=made_in, check=True)
        return subprocess.run(
            ["arm-none-eabi-nm", "all.o"], cwd=made_in, check=True, capture_output=True, text=True
        ).stdout

    assert "nn_dsp_filters" in symbols("-mcpu=cortex-m4", "-O1")
    assert "nn_dsp" not in symbols("-mcpu=cortex-m0", "-Os")
    assert "nn_dsp_filters" in symbols("-mcpu=cortex-m4", "-O0")
    assert "nn_dsp" not in symbols("-mcpu=cortex-m4", "-O2", "-mbig-endian")
    assert "nn_dsp_filters" in symbols("-mcpu=cortex-m33", "-O2", "-fno-omit-frame-pointer")


def test_counts_of_a_convolution() -> None:
    loops = dsp_conv(Window((3, 3), (1, 1), (1, 1, 1, 1)), 16, 16, (32, 32))
    assert isinstance(loops, DspConv)
    assert (loops.steps, loops.pairs, loops.quads, loops.rest, loops.scratch) == (72, 512, 4, 0, 579)
    # the first and the last row, and the first and the last pair of the other rows
    assert loops.edges == 16 + 16 + 30 * 2
    assert (loops.turns.count, loops.turns.loops, loops.turns.rest) == (8, 9, 0)
    assert loops.features()["quad_steps"] == 512 * 4 * 72
    odd = dsp_conv(Window((2, 2)), 3, 7, (4, 4))
    assert isinstance(odd, DspConv)
    assert (odd.steps, odd.pairs, odd.quads, odd.rest) == (2 * 3, 5, 1, 2)
    assert dsp_conv(Window((2, 2), dilation=(2, 2)), 3, 7, (4, 4)) is None
    for steps in range(1, 200):
        turns = Turns(steps)
        assert turns.count * turns.loops + turns.rest == steps and turns.rest <= 10 and turns.count <= 8
