"""Kernels that are generated for one shape, on cores with vector instructions: the interpreter's bytes, wherever they run."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from support_export_c import Drawn
from support_mve import KINDS, drawn_mve
from support_programs import needs
from torch import nn

from sparsemod.arena import plan as plan_arena
from sparsemod.emulator import Emulator, build
from sparsemod.export.c import generate, host_run, plan
from sparsemod.export.c.host import FLAGS, host_run_all
from sparsemod.graph import capture, deployed
from sparsemod.kinds.mve import MveConv, mve_conv
from sparsemod.kinds.mve_depthwise import MveDepthwise, mve_depthwise
from sparsemod.kinds.mve_filters import Sums
from sparsemod.kinds.windows import Window
from sparsemod.measure.nodes import graph_layout
from sparsemod.quantization import IntegerNetwork, quantize

EMULATED = (*FLAGS, "-DNN_MVE_EMULATED")
SANITIZED = (*EMULATED, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def specials(network: IntegerNetwork, core: str = "cortex-m55") -> list[str]:
    return [layer.name for layer in generate(network, core=core).layers if layer.special]


@needs("gcc", package="gcc")
@pytest.mark.slow(every=4)
@pytest.mark.parametrize("seed", range(8))
def test_one_layer_of_every_kind_on_this_machine(seed: int) -> None:
    cases = [drawn_mve(kind, seed) for kind in KINDS]
    for flags in (SANITIZED, FLAGS):
        for (network, images), outputs in zip(cases, host_run_all(cases, flags=flags), strict=True):
            assert np.array_equal(outputs, network.run(images)), network.layers


@needs_emulator
@pytest.mark.slow(every=4)
@pytest.mark.parametrize("level", ["-O2", "-O3", "-Os", "-flto"])
def test_one_layer_of_every_kind_on_m55(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("-O2", "-flto") if level == "-flto" else (level,)
    monkeypatch.setattr(
        build, "FLAGS", tuple(f for flag in build.FLAGS for f in (flags if flag == "-O2" else (flag,)))
    )
    cases = [drawn_mve(kind, seed) for seed in range(8, 14) for kind in KINDS]
    for (network, images), outputs in zip(cases, Emulator("cortex-m55").outputs(cases), strict=True):
        assert np.array_equal(outputs, network.run(images)), network.layers


@needs_emulator
def test_copies_of_windows_end_in_zeros_in_used_memory() -> None:
    """A convolution whose copies lie where an earlier layer has left other bytes than 0."""
    drawn = Drawn(1013)
    (outputs,) = Emulator("cortex-m55").outputs([(drawn.network, drawn.images)])
    assert np.array_equal(outputs, drawn.network.run(drawn.images))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_every_kind_have_kernels(kind: str) -> None:
    made = [drawn_mve(kind, seed)[0] for seed in range(12)]
    own = [specials(network) == [kind] for network in made]
    assert sum(own) >= (
        6 if kind == "depthwise" else 10
    )  # some have numbers or strides for which there is none
    assert not any(specials(network, core) for network in made[:2] for core in ("", "cortex-m3"))


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
            x = x + layer(x).relu()
        return self.head(torch.cat([self.depthwise(x).relu().flatten(1), few], 1))


def mixed() -> tuple[IntegerNetwork, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    samples = {"few": torch.randn(16, 3), "image": torch.randn(16, 3, 5, 7)}
    network = quantize(Mixed().eval(), samples)
    assert isinstance(network, IntegerNetwork)
    return network, {name: values[:3] for name, values in network.quantize_named(samples).items()}


@needs_emulator
def test_a_whole_network_with_inputs_at_odd_addresses() -> None:
    network, inputs = mixed()
    assert len(specials(network)) == 7
    found = Emulator("cortex-m55").measure(network, inputs)
    assert np.array_equal(found.named["output"], network.run_named(inputs)["output"])
    assert found.static_ram == (found.arena + 3) // 4 * 4


@needs_emulator
def test_the_kernels_need_fewer_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = mixed()
    own = Emulator("cortex-m55").measure(network, inputs).per_layer
    monkeypatch.setattr("sparsemod.export.c.layers.special", lambda context, layer: None)
    plain = Emulator("cortex-m55").measure(network, inputs).per_layer
    for layer in specials(network):
        assert own[layer] < 0.5 * plain[layer], layer


def test_the_plan_before_training_holds_the_copies() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 40, 1)
    ).eval()
    graph = deployed(capture(module, (8, 6, 6)))
    network = quantize(module, torch.randn(16, 8, 6, 6))
    size = plan(network, "cortex-m55").size
    assert size == plan_arena(graph_layout(graph, "cortex-m55").problem).size
    assert size == generate(network, core="cortex-m55").arena.size
    # The first result begins 8 bytes before the input that it overwrites: the kernel writes two positions while it reads the first one.
    # Two copies of 72 bytes, each with zeros up to 80 and 16 more.
    assert size == 8 + 8 * 36 + 2 * 96


def test_layers_of_equal_shapes_share_their_filters() -> None:
    network, _ = mixed()
    sources = generate(replace(network, core="cortex-m55")).sources
    # 27 taps, 6 taps of one window at a time, the depthwise layer and the sum
    assert sum("nn_mve_filters" in path for path in sources) == 3
    assert sum("nn_mve_add" in path for path in sources) == 1
    assert not any("nn_dsp" in path for path in sources)


def test_numbers_out_of_range_keep_the_plain_kernel() -> None:
    network, images = drawn_mve("copied", 3)
    (layer,) = network.layers
    weight = layer.weight // 16  # type: ignore[attr-defined]
    sums = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    room = 30 - int(np.log2((256 * sums + 2**13).max()))  # bits that the sums leave

    def changed(shift: int, multiplier: int = 2**30) -> IntegerNetwork:
        numbers = {"weight": weight, "multiplier": np.full_like(layer.multiplier, multiplier)}  # type: ignore[attr-defined]
        return replace(network, layers=(replace(layer, **numbers, shift=np.full_like(layer.shift, shift)),))  # type: ignore[attr-defined]

    for shift, multiplier, own in ((-31, 2**30, True), (-1, 2**30, True), (0, 2**30, True), (room - 2, 2**30, True), (room + 1, 2**30, False), (0, 0, True)):  # fmt: skip
        other = changed(shift, multiplier)
        assert bool(specials(other)) == own, shift
        assert np.array_equal(host_run(other, images, flags=EMULATED), other.run(images)), shift
    reasons = {"mask": "its weights are stored as mask", "plain": "chosen for its smaller flash"}
    for encoding, reason in reasons.items():
        made = generate(replace(network, encodings={"copied": encoding}))
        assert [layer.plain for layer in made.layers] == [reason]
    (plain,) = (layer.plain for layer in generate(changed(room + 1)).layers)
    assert plain == f"a factor of {2.0**room:g} or above, with sums that leave no room for it"


def test_shapes_without_a_kernel() -> None:
    assert mve_conv(Window((2, 2), dilation=(2, 2)), 3, 7, (4, 4)) is None
    assert mve_conv(Window((2, 2), groups=3), 3, 6, (4, 4)) is None
    around = {"padding": (1, 1, 1, 1), "groups": 4}
    assert mve_depthwise(Window((5, 5), **around), 4, 4, (9, 9)) is None
    assert mve_depthwise(Window((3, 3), stride=(1, 2), **around), 4, 4, (9, 9)) is None
    # one row of outputs, and columns of words that would need 64 times the memory of four channels
    assert mve_depthwise(Window((3, 3), **around), 4, 4, (1, 9)) is None
    assert mve_depthwise(Window((3, 3), **around), 4, 4, (4, 400)) is None
    assert isinstance(mve_depthwise(Window((3, 3), **around), 4, 4, (9, 9)), MveDepthwise)


def test_counts_of_a_convolution() -> None:
    loops = mve_conv(Window((3, 3), (1, 1), (1, 1, 1, 1)), 16, 16, (32, 32))
    assert isinstance(loops, MveConv)
    assert loops.direct and loops.filters.sums.rows == 3 and loops.filters.groups == 4
    # the first and the last row, and the first and the last pair of the other rows
    assert (loops.pairs, loops.edges) == (512, 16 + 16 + 30 * 2)
    assert loops.features()["group_vectors"] == 512 * 4 * 9
    odd = mve_conv(Window((2, 2)), 3, 7, (4, 4))
    assert isinstance(odd, MveConv)
    assert (odd.direct, odd.pairs, odd.filters.rest, odd.column, odd.scratch) == (False, 5, 3, 32, 64)
    for run in range(1, 600):
        before, count, turns = Sums(1, run).turns
        assert before + count * turns == run // 16 and count <= 6
        assert before > 0 or run < 16


@needs("arm-none-eabi-gcc", package="gcc-arm-none-eabi")
def test_only_optimized_code_for_such_cores_holds_the_kernels(tmp_path: Path) -> None:
    made = generate(drawn_mve("copied", 3)[0])
    project = tmp_path / "project"
    made.write(project)

    def symbols(*flags: str) -> str:
        warnings = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
        command = ["arm-none-eabi-gcc", *flags, "-mthumb", "-std=c99", *warnings, "-I.", "-r", "-nostdlib", "-o", "all.o", *made.sources]  # fmt: skip
        subprocess.run(command, cwd=project, check=True)
        names = ["arm-none-eabi-nm", "all.o"]
        return subprocess.run(names, cwd=project, check=True, capture_output=True, text=True).stdout

    helium = ("-mcpu=cortex-m55", "-mfloat-abi=hard")
    assert "nn_mve_filters" in symbols(*helium, "-O1")
    assert "nn_mve_filters" in symbols(*helium, "-O2", "-fno-omit-frame-pointer")
    assert "nn_mve" not in symbols(*helium, "-O0")
    assert "nn_mve" not in symbols(*helium, "-O2", "-mbig-endian")
    assert "nn_mve" not in symbols("-mcpu=cortex-m55+nomve", "-O2")
    assert "nn_mve" not in symbols("-mcpu=cortex-m4", "-O2")
