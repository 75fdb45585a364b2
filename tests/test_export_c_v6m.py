"""Kernels that are generated for one shape, on cores with the instructions of Armv6-M alone: the interpreter's bytes, wherever they run."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_dsp import drawn
from support_emulator import needs_emulator
from support_programs import clang_for_arm, needs
from support_v6m import KINDS, drawn_v6m
from torch import nn

from sparsemod.arena import plan as plan_arena
from sparsemod.emulator import Emulator, build
from sparsemod.emulator.program import flat_inputs, program
from sparsemod.export.c import generate, host_run, plan
from sparsemod.export.c.host import FLAGS, host_run_all
from sparsemod.export.c.networks import kernel_choices
from sparsemod.graph import capture, deployed
from sparsemod.kinds.v6m import V6mConv, v6m_conv, v6m_loops
from sparsemod.kinds.v6m_depthwise import V6mDepthwise, v6m_depthwise
from sparsemod.kinds.v6m_linear import V6mLinear
from sparsemod.kinds.windows import Window
from sparsemod.measure.nodes import graph_layout
from sparsemod.quantization import IntegerNetwork, TensorInfo, quantize
from sparsemod.quantization.layers import Linear
from sparsemod.quantization.packing import unpacked

EMULATED = (*FLAGS, "-DNN_V6M_EMULATED")
SANITIZED = (*EMULATED, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Og")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")


def specials(network: IntegerNetwork, core: str = "cortex-m0") -> list[str]:
    return [layer.name for layer in generate(network, core=core).layers if layer.special]


def largest_sums(taps: int = 390) -> tuple[IntegerNetwork, np.ndarray]:
    """A linear layer whose sums of two products are as large as they can be, in both halves of a word and with either sign."""
    weight = np.full((6, taps), 127, np.int8)
    weight[1], weight[2, ::2], weight[3, 1::2], weight[4], weight[4, -1] = -127, -127, -127, 0, 1
    layer = Linear(
        "linear", ("x",), "y", -128, 127, weight, np.arange(6, dtype=np.int32), np.full(6, 2**30, np.int32),
        np.full(6, -13, np.int32), np.ones(6, np.float32),
    )  # fmt: skip
    tensors = {"x": TensorInfo((taps,), 0.125, 3), "y": TensorInfo((6,), 0.125, -2)}
    images = np.full((4, taps), -128, np.int8)
    images[1], images[2, ::2], images[3, 1::2] = 127, 127, 127
    return IntegerNetwork(
        "x", "y", tensors, (layer,), core="cortex-m0", encodings={"linear": "dense"}
    ), images


@needs("gcc", package="gcc")
@pytest.mark.slow(every=5)
@pytest.mark.parametrize("seed", range(10))
def test_one_layer_of_every_kind_on_this_machine(seed: int) -> None:
    cases = [*(drawn_v6m(kind, seed) for kind in KINDS), largest_sums()]
    for flags in (SANITIZED, FLAGS):
        for (network, images), outputs in zip(cases, host_run_all(cases, flags=flags), strict=True):
            assert np.array_equal(outputs, network.run(images)), network.layers


@needs_emulator
@pytest.mark.slow(every=3)
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os", "-Os -fno-omit-frame-pointer"])
def test_one_layer_of_every_kind_on_m0(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        build,
        "FLAGS",
        tuple(each for flag in build.FLAGS for each in (level.split() if flag == "-O2" else [flag])),
    )
    cases = [*(drawn_v6m(kind, seed) for seed in range(10, 15) for kind in KINDS), largest_sums()]
    for (network, images), outputs in zip(cases, Emulator("cortex-m0").outputs(cases), strict=True):
        assert np.array_equal(outputs, network.run(images)), network.layers


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_every_kind_have_kernels(kind: str) -> None:
    made = [drawn_v6m(kind, seed)[0] for seed in range(12)]
    own = [bool(specials(network)) for network in made]
    least = {"depthwise": 6, "linear": 8}.get(kind, 10)
    assert sum(own) >= least, "some have numbers, strides or numbers of outputs without one"
    assert specials(largest_sums()[0]) == ["linear"]
    assert not any(specials(network, core) for network in made[:2] for core in ("", "cortex-m3"))


def project(folder: Path) -> tuple[list[str], list[str]]:
    """Write layers of every kind; return all files of C, and those of the kernels."""
    sources: set[str] = set()
    for number, (network, _) in enumerate(
        [*(drawn_v6m(kind, seed) for kind in KINDS for seed in range(2)), largest_sums()]
    ):
        made = generate(network, name=f"net{number}")
        for file, content in made.files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(content)
        sources |= set(made.sources)
    return sorted(sources), sorted(file for file in sources if "nn_v6m" in file)


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs("arm-none-eabi-gcc", package="gcc-arm-none-eabi")
@pytest.mark.slow(every=3)
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m0plus", "cortex-m23"])
def test_gcc_compiles_the_kernels_at_every_level(core: str, tmp_path: Path) -> None:
    sources, generated = project(tmp_path)
    gcc = ("arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", "-std=c99", "-I.")
    for level in LEVELS:
        run(tmp_path, *gcc, level, *WARNINGS, "-c", *generated)
    for flag in ("-fno-omit-frame-pointer", "-fPIC", "-fstack-protector-all", "-masm-syntax-unified"):
        run(tmp_path, *gcc, "-Os", flag, "-c", *generated)
    run(tmp_path, *gcc, "-O2", "-flto", "-c", *sources)
    objects = [f"{Path(file).stem}.o" for file in sources]
    run(tmp_path, *gcc, "-O2", "-flto", "-flinker-output=nolto-rel", "-r", "-nostdlib", "-o", "all.o", *objects)  # fmt: skip
    assert "nn_v6m_filters" in run(tmp_path, "arm-none-eabi-nm", "all.o")


@needs("arm-none-eabi-gcc", package="gcc-arm-none-eabi")
@pytest.mark.parametrize(
    "flags", [("-mcpu=cortex-m4",), ("-mcpu=cortex-m3",), ("-mcpu=cortex-m0", "-mbig-endian")]
)
def test_other_cores_compile_the_shared_kernels(flags: tuple[str, ...], tmp_path: Path) -> None:
    made = generate(drawn_v6m("copied", 3)[0])
    made.write(tmp_path / "project")
    command = ("arm-none-eabi-gcc", *flags, "-O2", "-mthumb", "-std=c99", *WARNINGS, "-I.", "-r", "-nostdlib")
    run(tmp_path / "project", *command, "-o", "all.o", *made.sources)
    assert "nn_v6m" not in run(tmp_path / "project", "arm-none-eabi-nm", "all.o")


@pytest.mark.skipif(clang_for_arm() is None, reason="no clang for Arm: the package ziglang")
@pytest.mark.slow(every=3)
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m23", "cortex-m4"])
def test_clang_compiles_the_kernels(core: str, tmp_path: Path) -> None:
    sources, generated = project(tmp_path)
    for number in range(2):
        made = generate(replace(drawn("conv", number)[0], core="cortex-m4"), name=f"dsp{number}")
        for file, content in made.files.items():
            (tmp_path / file).write_text(content)
        sources += [file for file in made.sources if file not in sources]
    clang = clang_for_arm() or ()
    for level in ("-O0", "-O2", "-Os"):
        objects = []
        for file in sources:
            objects.append(f"{Path(file).stem}.o")
            run(tmp_path, *clang, f"-mcpu={core.replace('-', '_')}", "-mthumb", "-std=c99", "-I.", level, "-Wall", "-Wextra", "-Werror", "-c", file, "-o", objects[-1])  # fmt: skip
        defined = run(tmp_path, "arm-none-eabi-nm", "--defined-only", *objects)
        assert (" nn_v6m_filters_" in defined) == (core != "cortex-m4") and len(generated) > 0


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


@needs_emulator
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m3"])
def test_inputs_at_odd_addresses(core: str) -> None:
    network, inputs = mixed()
    assert len(specials(network, core)) == (5 if core == "cortex-m0" else 0)
    found = Emulator(core).measure(network, inputs)
    assert np.array_equal(found.named["output"], network.run_named(inputs)["output"])
    assert found.static_ram == (found.arena + 3) // 4 * 4


@needs_emulator
def test_newer_cores_run_the_shared_kernels_of_a_project_for_m0() -> None:
    network, inputs = mixed()
    found = Emulator("cortex-m4").run(program(network, "cortex-m0"), flat_inputs(network, inputs))
    assert np.array_equal(unpacked(network, found.outputs)["output"], network.run_named(inputs)["output"])
    assert not any("nn_v6m" in name for name in found.functions)


@needs_emulator
def test_the_kernels_need_fewer_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 8, 1),
        nn.Flatten(), nn.Linear(8 * 100, 16),
    )  # fmt: skip
    network = quantize(module.eval(), torch.randn(16, 8, 10, 10))
    own = Emulator("cortex-m0").measure(network).per_layer
    monkeypatch.setattr("sparsemod.export.c.layers.special", lambda context, layer: None)
    plain = Emulator("cortex-m0").measure(network).per_layer
    for layer in (each.name for each in network.layers if each.kind in ("conv", "linear")):
        assert own[layer] < 0.7 * plain[layer], layer


def test_the_plan_before_training_holds_the_columns() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 40, 1)
    ).eval()
    graph = deployed(capture(module, (8, 6, 6)))
    network = quantize(module, torch.randn(16, 8, 6, 6))
    size = plan(network, "cortex-m0").size
    assert size == plan_arena(graph_layout(graph, "cortex-m0").problem).size
    assert size == generate(network, core="cortex-m0").arena.size
    # 36 steps of four words; the first result overwrites the input, of twice the channels.
    assert size == 8 * 36 + 36 * 16 + 3


def test_a_long_vector_comes_in_parts() -> None:
    loops = V6mLinear(640, 10)
    assert (loops.parts, loops.steps, loops.quads) == (5, 64, 3)
    assert loops.scratch == 12 * 64 + 16 * 3 + 3
    assert V6mLinear(128, 640).scratch == 12 * 64 + 3
    for taps in range(1, 700):
        loops = V6mLinear(taps, 4)
        assert 0 <= 2 * loops.parts * loops.steps - taps <= 2 * loops.parts and loops.steps <= 64
        assert loops.turns.count * loops.turns.loops + loops.turns.rest == loops.steps


def test_equal_shapes_share_a_kernel() -> None:
    network, _ = mixed()
    sources = generate(replace(network, core="cortex-m0")).sources
    assert sum("nn_v6m_columns" in path for path in sources) == 1
    assert sum("nn_v6m_conv" in path for path in sources) <= 3


def test_numbers_out_of_range_keep_the_plain_kernel() -> None:
    network, images = drawn_v6m("conv", 3)
    (layer,) = network.layers
    assert specials(network) == ["conv"]

    def changed(**numbers: np.ndarray) -> IntegerNetwork:
        return replace(network, layers=(replace(layer, **numbers),))

    factor, shift = layer.multiplier, layer.shift  # type: ignore[attr-defined]
    full = np.full_like(factor, 2**30)
    cases = (
        (changed(bias=np.full_like(factor, 2**23)), "beyond 24 bits"),
        (changed(multiplier=full, shift=np.full_like(shift, 7)), "a factor of 64 or above"),
        (changed(multiplier=full, shift=np.full_like(shift, -14)), "a factor below 2^-14"),
        (replace(network, encodings={"conv": "mask"}), "its weights are stored as mask"),
        (replace(network, encodings={"conv": "plain"}), "chosen for its smaller flash"),
        (changed(multiplier=full, shift=np.full_like(shift, 6)), ""),
        (changed(multiplier=full, shift=np.full_like(shift, -13)), ""),
        (changed(multiplier=np.zeros_like(factor), shift=np.full_like(shift, -31)), ""),
        (changed(weight=np.zeros_like(layer.weight)), ""),
    )
    for other, reason in cases:
        (made,) = generate(other).layers
        assert (made.special, reason in made.plain) == (not reason, True), made.plain
        assert np.array_equal(host_run(other, images, flags=EMULATED), other.run(images)), reason


def test_every_layer_says_why_it_runs_the_shared_kernel() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, dilation=2), nn.ReLU(), nn.Conv2d(4, 4, 5, groups=4), nn.Conv2d(4, 4, 3, groups=2), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.Flatten(), nn.Linear(100, 3),
    )  # fmt: skip
    network = quantize(module.eval(), torch.randn(16, 2, 20, 20))
    assert isinstance(network, IntegerNetwork)
    found = kernel_choices(network, "cortex-m0")
    assert [found[layer.name] for layer in network.weighted()] == [
        "shared: a dilation of 2 x 2", "shared: a depthwise window of 5 x 5, not 3 x 3", "shared: 2 groups", "generated",
        "shared: fewer than 4 outputs",
    ]  # fmt: skip
    readme = generate(replace(network, core="cortex-m0")).files["README.md"]
    assert readme.count("| yes |") == 1 and "| no: 2 groups |" in readme


def test_counts_of_a_convolution() -> None:
    loops = v6m_conv(Window((3, 3), (1, 1), (1, 1, 1, 1)), 16, 18, (32, 32))
    assert isinstance(loops, V6mConv)
    assert (loops.steps, loops.quads, loops.blocks, loops.scratch) == (72, 256, 3, 16 * 72 + 3)
    # the first and the last row, and the first and the last quad of the other rows
    assert loops.edges == 8 + 8 + 30 * 2
    assert loops.features()["steps"] == 256 * 18 * 72
    odd = v6m_conv(Window((2, 2)), 3, 7, (4, 4))
    assert isinstance(odd, V6mConv)
    assert (odd.steps, odd.quads, odd.edges, odd.lines) == (2 * 3, 3, 3, 4 * 6)
    assert v6m_conv(Window((2, 2), dilation=(2, 2)), 3, 7, (4, 4)) is None
    depthwise = v6m_loops(Window((3, 3), (2, 2), (1, 1, 1, 1), groups=4), 4, 4, (9, 8))
    assert isinstance(depthwise, V6mDepthwise)
    # Rows 0 and 1 of outputs need rows -1 to 3, the next ones rows 3 to 7, the last one rows 7 to 11.
    assert (depthwise.made, depthwise.pairs, depthwise.whole, depthwise.gathered) == ((5, 4), 3, 2, 8)
    assert v6m_depthwise(Window((5, 5), padding=(2, 2, 2, 2), groups=4), 4, 4, (9, 9)) is None
