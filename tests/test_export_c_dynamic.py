"""C of the schemes dynamic and both: the network's outputs bit for bit, on this machine, on emulated cores, whatever the compiler's flags."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_dynamic import DrawnDynamic
from support_emulator import needs_emulator
from support_programs import needs
from torch import nn

from sparsemod.arena.dynamic_memory import scratch_bytes
from sparsemod.decoding import Decoding
from sparsemod.emulator import Emulator
from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export import export
from sparsemod.export.c.dynamic import generate, host_run, host_run_all
from sparsemod.export.c.dynamic.functions import written
from sparsemod.export.c.dynamic.host import host_answers
from sparsemod.graph import Graph, Operator
from sparsemod.graph.functions import Function, X
from sparsemod.quantization import quantize
from sparsemod.quantization.dynamic_functions import FUNCTIONS, evaluate
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.quantization.raw_samples import InputNormalization

COMPILE = ("cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", "-I.")
FAST = {
    "x87": ("-std=gnu99", "-O2", "-mfpmath=387"),
    "fast, fused": ("-std=gnu99", "-O3", "-mfma", "-ffp-contract=fast", "-ffast-math"),
}
needs_compiler = needs("cc", package="gcc")


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.int32)


def network_of(
    module: nn.Module, x: torch.Tensor, scheme: str = "dynamic", **options: object
) -> DynamicNetwork:
    network = quantize(module.eval(), x, scheme, **options)  # type: ignore[arg-type]
    assert isinstance(network, DynamicNetwork)
    return network


def small(scheme: str = "dynamic") -> tuple[DynamicNetwork, torch.Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
    x = torch.randn(8, 2, 6, 6)
    return network_of(module, x, scheme), x


@needs_compiler
@pytest.mark.slow(every=8)
@pytest.mark.parametrize("start", range(0, 48, 6))
def test_random_networks_give_the_same_bits(start: int) -> None:
    drawn = [DrawnDynamic(seed) for seed in range(start, start + 6)]
    for each, outputs in zip(drawn, host_run_all([each.case for each in drawn]), strict=True):
        assert np.array_equal(bits(each.expected()), bits(outputs))


@needs_emulator
@pytest.mark.parametrize(("core", "seed"), [("cortex-m4", 0), ("cortex-m4", 3), ("cortex-m0", 1)])
def test_emulated_networks_give_the_same_bits(core: str, seed: int) -> None:
    drawn = DrawnDynamic(seed)
    emulation = Emulator(core).measure_dynamic(*drawn.case)
    assert np.array_equal(bits(drawn.expected()), bits(emulation.outputs))
    project = generate(drawn.network)
    assert emulation.arena == project.arena.size
    assert emulation.flash > project.data_bytes
    assert list(emulation.per_layer) == [layer.name for layer in project.layers]
    assert min(emulation.per_layer.values()) > 0


@needs_compiler
@pytest.mark.parametrize("how", FAST)
def test_no_flag_of_the_compiler_changes_a_bit(how: str) -> None:
    if how == "fast, fused" and " fma " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine has no fused multiply-add")
    drawn = [DrawnDynamic(2), DrawnDynamic(5)]
    for each, outputs in zip(
        drawn, host_run_all([each.case for each in drawn], flags=FAST[how]), strict=True
    ):
        assert np.array_equal(bits(each.expected()), bits(outputs))


_OPERANDS: dict[str, tuple[object, ...]] = {
    "leaky_relu": (0.1,), "clamp": (-0.7, 1.3), "threshold": (0.3, -2.0), "affine": (1.7, -0.3), "gt": (0.5,), "ge": (0.5,),
    "lt": (0.5,), "le": (0.5,),
    **dict.fromkeys(("sum", "subtract", "multiply", "divide", "maximum", "minimum"), (("sigmoid", X),)),
    "where": (("tanh", X), 0.25),
}  # fmt: skip


@needs_compiler
def test_every_function_gives_the_same_bits() -> None:
    x = np.concatenate([np.linspace(-20, 20, 4001), [0.0, -0.0, 1e30, -1e30, 0.5, 3.0, -3.0]]).astype(
        np.float32
    )
    x = np.concatenate([x, np.random.default_rng(0).standard_normal(999)]).astype(np.float32)
    made = []
    for name in FUNCTIONS:
        function: Function = (name, X, *_OPERANDS.get(name, ()))
        made.append(Operator(name, "table", ("x",), name, {"function": function}))
    joined = Operator("all", "concat", tuple(FUNCTIONS), "all", {"axis": 0})
    shapes = {name: (len(x),) for name in ("x", *FUNCTIONS)} | {"all": (len(x) * len(FUNCTIONS),)}
    network = DynamicNetwork(Graph("x", "all", (*made, joined), shapes, {}), {})
    expected = network.logits(x[None]).reshape(len(FUNCTIONS), -1)
    outputs = host_run(network, x[None]).reshape(len(FUNCTIONS), -1)
    for operator, row, found in zip(made, expected, outputs, strict=True):
        wanted = evaluate(operator.attributes["function"], torch.from_numpy(x)).numpy()
        assert np.array_equal(bits(row), bits(wanted)), operator.name
        assert np.array_equal(bits(row), bits(found)), operator.name


@pytest.mark.parametrize(
    "name", ["sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "leaky_relu", "relu6"]
)
def test_functions_are_near_the_real_ones(name: str) -> None:
    x = torch.linspace(-12, 12, 5001)
    real = {
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": nn.SiLU(), "hardswish": nn.Hardswish(),
        "hardsigmoid": nn.Hardsigmoid(), "leaky_relu": nn.LeakyReLU(0.1), "relu6": nn.ReLU6(),
    }[name](x)  # fmt: skip
    made = evaluate((name, X, *_OPERANDS.get(name, ())), x)
    assert float((made - real).abs().max()) < (4e-3 if name == "silu" else 1e-3)


def test_a_composed_function_names_its_results() -> None:
    body, kernels = written(("multiply", X, ("tanh", ("affine", X, 2.0, -1.0))))
    assert kernels == ("nd_tanh",)
    assert body.splitlines() == [
        "    const float v0 = nd_sum(nd_product(x, 2.0f), (-1.0f));",
        "    const float v1 = nd_tanh(v0);",
        "    const float v2 = nd_product(x, v1);",
        "    return v2;",
    ]


def test_scratch_holds_the_quantized_input_and_a_window() -> None:
    network, _ = small()
    project = generate(network)
    conv, _pool, linear = project.arena.layout.nodes
    assert scratch_bytes(conv, network.graph.tensors) == 72 + 18
    assert scratch_bytes(linear, network.graph.tensors) == 36
    # while the convolution runs: its float input, its float output, its scratch in whole words
    assert project.arena.size == 4 * 72 + 4 * 144 + 92
    assert project.data_bytes == network.weight_bytes() + 4 * (
        4 + 3
    )  # int8 weights and float biases, and the scales


@needs_compiler
def test_a_measured_range_is_a_constant() -> None:
    dynamic, both = generate(small("dynamic")[0]), generate(small("both")[0])
    weights = [project.files["network.weights.h"] for project in (dynamic, both)]
    assert [len(re.findall(r"measured = \{0\.0f, 0\}", text)) for text in weights] == [2, 1]


@needs_compiler
def test_raw_samples_are_normalized_as_in_python() -> None:
    network, x = small()
    known = replace(network, normalization=InputNormalization("standard", (0.3, -1e3), (2.7, 0.019)))
    raw = (x * 3 + 1).numpy()
    raw[0, 0, 0, 0] = np.nan
    assert known.normalization is not None
    wanted = np.nan_to_num(known.normalization.apply(raw), nan=0.0)
    assert np.array_equal(bits(known.logits(wanted)), bits(host_run(known, raw, raw=True, flags=FAST["x87"])))


@needs_compiler
@pytest.mark.parametrize("kind", ["classes", "labels", "values", "pixels", "normal"])
def test_answers_are_those_of_python(kind: str) -> None:
    torch.manual_seed(3)
    x = torch.randn(20, 2, 3, 4)
    if kind == "pixels":
        module: nn.Module = nn.Conv2d(2, 4, 3, padding=1)
    else:
        module = nn.Sequential(nn.Flatten(), nn.Linear(24, 24 if kind == "normal" else 5))
    scale = (
        {"scale": (2.0, 3.0, 0.1, 7.0, 1e3), "offset": (1.0, -4.0, 0.3, 0.0, 9.0)} if kind == "values" else {}
    )
    decoding = Decoding(kind, threshold=0.5 if kind == "normal" else None, **scale)
    network = replace(network_of(module, x), decoding=decoding)
    wanted = network.answers(x.numpy(), network.logits(x))
    assert np.array_equal(host_answers(network, x.numpy()), wanted)
    assert len(np.unique(wanted)) > 1
    assert DynamicNetwork.from_bytes(network.to_bytes()).decoding == decoding


@needs_compiler
def test_a_project_compiles_and_prints_the_outputs(tmp_path: Path) -> None:
    network, x = small("both")
    named = replace(network, classes=("left", "right", "none"))
    report = export("c", named, tmp_path, name="hand", samples=x.numpy(), data="noise")
    assert report.verifications[0].exact and report.verifications[0].agreement == 1.0
    assert report.memory["arena"] == generate(named).arena.size
    sources = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.c")]
    subprocess.run([*COMPILE, "-o", "example", *sources], cwd=tmp_path, check=True)
    given = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1)).tobytes()
    printed = subprocess.run([tmp_path / "example"], input=given, capture_output=True, check=True).stdout
    lines = [line.split() for line in printed.decode().splitlines()]
    assert [line[1] for line in lines] == [named.classes[best] for best in named.predict(x)]
    assert np.array_equal(np.array([line[2:] for line in lines], np.float32), named.logits(x))
    assert "class 0" not in (tmp_path / "README.md").read_text()


@needs_compiler
def test_two_models_in_one_firmware_stay_separate(tmp_path: Path) -> None:
    first, x = small()
    second = DrawnDynamic(5)  # recurrent
    outputs = host_run_all([(first, x.numpy()), second.case], flags=("-std=c99", "-O1"))
    assert np.array_equal(outputs[0], first.logits(x)) and np.array_equal(outputs[1], second.expected())
    symbols = []
    for name, network in (("left", first), ("right", second.network)):
        made = generate(network, name=name)
        made.write(tmp_path / name)
        units = [path for path in made.sources]
        subprocess.run(["cc", "-std=c99", "-O0", "-I.", "-c", *units], cwd=tmp_path / name, check=True)
        found = subprocess.run(
            ["nm", "--defined-only", "-g", *(f"{Path(unit).stem}.o" for unit in units)], cwd=tmp_path / name,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        symbols.append({line.split()[2] for line in found.stdout.splitlines() if len(line.split()) == 3})
    shared = symbols[0] & symbols[1]
    assert shared and all(re.fullmatch(r"n[nd]_\w+_[0-9a-f]{8}", name) for name in shared)
    for name, own in zip(("left", "right"), symbols, strict=True):
        assert all(symbol.startswith((f"{name}_", "nn_", "nd_")) for symbol in own)


def test_what_has_no_kernel_is_unsupported() -> None:
    x = torch.randn(4, 6)
    network = network_of(nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4), nn.Softmax(1)), x)
    with pytest.raises(Unsupported, match=r"C export of dynamically quantized networks.*'softmax'"):
        generate(network)
    network = network_of(nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4)), x)
    with pytest.raises(Unsupported, match=r"'table' at layer '1' .*the function gelu"):
        generate(network)


@pytest.mark.parametrize("wanted", ["onnx", "tflite"])
def test_other_formats_refuse_the_network(wanted: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=f"the {wanted} export does not support.*supported by: c; .*static"):
        export(wanted, small()[0], tmp_path)


def test_sums_must_fit_in_32_bits() -> None:
    network = network_of(nn.Linear(66_400, 1), torch.zeros(1, 66_400))
    with pytest.raises(InvalidInput, match=r"layer '.*'\.taps = 66400: .*at most 66311"):
        generate(network)
