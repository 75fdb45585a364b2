"""Networks with several inputs and outputs, through every stage; each array has a name."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from support_programs import needs_compiler
from torch import Tensor, nn

from sparsemod.arena import plan
from sparsemod.emulator import Emulator
from sparsemod.errors import BuildError, InvalidInput
from sparsemod.export import export
from sparsemod.export.c import generate
from sparsemod.export.c.host import host_run_named
from sparsemod.graph import capture, deployed, run_float, run_float_named
from sparsemod.measure.costs import costs
from sparsemod.measure.nodes import graph_layout
from sparsemod.pruning import planned_shrink_graph
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.targets import device


class Fusion(nn.Module):
    """An image and a vector. The outputs are heads, a tensor that later layers read, its view, an input, and a view of an input."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.dense = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 6)
        self.boxes, self.classes = nn.Linear(10, 3), nn.Linear(10, 2)

    def forward(self, image: Tensor, vector: Tensor, scale: float | None = None) -> dict[str, Any]:
        x, y = self.convolution(image).relu(), self.dense(vector).relu()
        joined = torch.cat([x.mean((2, 3)), y], 1)
        return {
            "boxes": self.boxes(joined), "scores": (self.classes(joined).softmax(1), y), "map": x, "flat": x.flatten(1), "none": None,
            "vector": vector, "rows": image.reshape(-1, 3, 64), "again": y.reshape(-1, 2, 3),
        }  # fmt: skip


NAMES = ["boxes", "scores_0", "scores_1", "map", "flat", "output_vector", "rows", "again"]


@cache
def fusion() -> tuple[nn.Module, dict[str, Tensor], IntegerNetwork]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Fusion().eval()
        x = {"image": torch.randn(20, 3, 8, 8), "vector": torch.randn(20, 5)}
    network = quantize(module, x)
    assert isinstance(network, IntegerNetwork)
    return module, x, network


def truth() -> dict[str, np.ndarray]:
    module, x, _ = fusion()
    made = module(**x)
    values = [
        made["boxes"],
        *made["scores"],
        *(made[key] for key in ("map", "flat", "vector", "rows", "again")),
    ]
    return {name: value.detach().numpy() for name, value in zip(NAMES, values, strict=True)}


def same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert list(found) == list(wanted) == NAMES
    for name, values in found.items():
        assert np.array_equal(values, wanted[name]), name


def test_float_and_integer_outputs_have_names() -> None:
    module, x, network = fusion()
    for graph in (capture(module, {"vector": (5,), "image": (3, 8, 8)}), capture(module, [(3, 8, 8), (5,)])):
        assert graph.inputs == ("image", "vector") and list(graph.outputs) == NAMES
        for one in (graph, deployed(graph), planned_shrink_graph(graph, 0.0)):
            found = run_float_named(one, x)
            for name, values in truth().items():
                assert np.allclose(found[name].numpy(), values, atol=1e-5), name
    assert network.inputs == ("image", "vector") and list(network.outputs) == NAMES
    for name, values in network.logits_named(x).items():
        assert np.abs(values - truth()[name]).max() < 3 * network.tensors[network.outputs[name]].scale
    again = IntegerNetwork.from_bytes(network.to_bytes())
    assert again.to_bytes() == network.to_bytes()
    same(again.run_named(network.quantize_named(x)), network.run_named(network.quantize_named(x)))


@needs_compiler
def test_compiled_c_gives_the_same_bytes() -> None:
    _, x, network = fusion()
    given = network.quantize_named(x)
    same(host_run_named(network, given), network.run_named(given))
    same(host_run_named(network, {name: v.numpy() for name, v in x.items()}), network.run_named(given))


@needs_emulator
def test_emulated_cores_give_the_same_bytes() -> None:
    _, x, network = fusion()
    given = {name: values[:3] for name, values in network.quantize_named(x).items()}
    found = Emulator("cortex-m4").measure(network, given)
    same(found.named, network.run_named(given))
    assert (
        found.arena == generate(network, core="cortex-m4").arena.size
        and 0 <= found.static_ram - found.arena < 4
    )
    for each in Emulator("cortex-m0").outputs_named([(network, given)] * 2):
        same(each, network.run_named(given))


def test_memory_holds_all_inputs_and_no_output() -> None:
    module, _, network = fusion()
    graph = deployed(capture(module, [(3, 8, 8), (5,)]))
    problem = graph_layout(graph).problem
    assert plan(problem).size == generate(network).arena.size >= 3 * 8 * 8 + 5
    measured = costs(graph, device("stm32f446"))["working_memory"]
    # The peak counts outputs and inputs until the end: all of them have been returned or are views of those.
    assert measured.value >= 3 * 8 * 8 + 5 + 4 * 8 * 8 + 3 + 2 + 6


@needs_compiler
def test_the_c_project_names_its_inputs_and_outputs(tmp_path: Path) -> None:
    network = fusion()[2]
    report = export("c", network, tmp_path, name="two_heads")
    header = (tmp_path / "two_heads.h").read_text()
    arguments = (
        "const int8_t *input_image, const int8_t *input_vector, int8_t *output_boxes, int8_t *output_scores_0"
    )
    assert f"void two_heads_run({arguments}, " in header
    assert "/* Input 1, vector: 5." in header and "#define TWO_HEADS_OUTPUT_1_SIZE 2\n" in header
    assert "| Output 1, `scores_0` | 2 int8 |" in (tmp_path / "README.md").read_text()
    assert report.verifications[0].largest_difference == 0
    made = subprocess.run(
        ["make", "CFLAGS=-std=c99 -O1 -Wall -Wextra -Wconversion -Werror"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr.decode()
    samples = np.zeros(3 * 8 * 8 + 5, np.float32).tobytes()
    ran = subprocess.run([tmp_path / "example"], input=samples, capture_output=True, check=True)
    lines = ran.stdout.decode().splitlines()
    assert len(lines) == len(NAMES) and len(lines[0].split()) == 3


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_exported_files_have_the_names(form: str, tmp_path: Path) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "tflite": "ai_edge_litert"}[form])
    _, x, network = fusion()
    report = export(form, network, tmp_path, samples={name: v.numpy() for name, v in x.items()})
    assert len(report.verifications) >= 1 and all(v.largest_difference <= 1 for v in report.verifications)
    if form == "onnx":
        import onnx

        graph = onnx.load(tmp_path / "network.onnx").graph
        assert [i.name for i in graph.input] == ["image", "vector"] and [
            o.name for o in graph.output
        ] == NAMES
        return
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(tmp_path / "network.tflite")).get_signature_list()["serving_default"]
    assert sorted(signature["inputs"]) == ["image", "vector"] and sorted(signature["outputs"]) == sorted(
        NAMES
    )


class Pair(NamedTuple):
    low: Tensor
    high: Tensor


@dataclass
class Found:
    boxes: Tensor
    more: list[Tensor]


class Given(nn.Module):
    """A network whose only argument is a dict or a tuple, and whose result is of one of many kinds."""

    def __init__(self, key: str, kind: str) -> None:
        super().__init__()
        self.key, self.kind = key, kind

    def forward(self, given: Any) -> Any:
        first, second = (given["a"], given["b"]) if self.key == "dict" else given
        low, high = first.relu(), second * 2
        kinds = {
            "tuple": (low, [high]),
            "named": Pair(low, high),
            "class": Found(low, [high]),
            "one": [low + high],
        }
        return kinds[self.kind]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("tuple", ["output_0", "output_1_0"]), ("named", ["low", "high"]), ("class", ["boxes", "more_0"]), ("one", ["output"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["dict", "tuple"])
def test_forms_of_arguments_and_results(key: str, kind: str, names: list[str]) -> None:
    shapes: Any = {"a": (4,), "b": (4,)} if key == "dict" else [(4,), (4,)]
    graph = capture(Given(key, kind), shapes)
    assert graph.inputs == (("a", "b") if key == "dict" else ("input_0", "input_1"))
    assert [name if len(names) > 1 else "output" for name in graph.outputs] == names
    x = {name: torch.randn(2, 4) for name in graph.inputs}
    first, second = x.values()
    found = list(run_float_named(graph, x).values())
    expected = [first.relu(), second * 2] if kind != "one" else [first.relu() + second * 2]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_mistakes_name_the_inputs() -> None:
    module, x, network = fusion()
    with pytest.raises(InvalidInput, match=r"shape.vector = .*positive whole numbers"):
        capture(module, {"image": (3, 8, 8), "vector": (0,)})
    with pytest.raises(InvalidInput, match=r"shape = .*the arguments of forward: image, vector"):
        capture(module, {"image": (3, 8, 8), "sound": (5,)})
    with pytest.raises(InvalidInput, match="a shape for the argument image"):
        capture(module, {"vector": (5,)})
    with pytest.raises(BuildError, match=r"samples of shape \(3, 8, 8\) and \(6,\)"):
        capture(module, [(3, 8, 8), (6,)])
    with pytest.raises(InvalidInput, match="one input and one output; instead of run use run_named"):
        network.run(np.zeros((1, 3, 8, 8), np.int8))
    with pytest.raises(InvalidInput, match=r"inputs = \['image'\]: exactly image, vector"):
        network.run_named({"image": np.zeros((1, 3, 8, 8), np.int8)})
    with pytest.raises(InvalidInput, match="the same number of samples"):
        network.run_named({"image": np.zeros((1, 3, 8, 8), np.int8), "vector": np.zeros((2, 5), np.int8)})
    with pytest.raises(InvalidInput, match="samples = '1 tensors': one for each input: image, vector"):
        quantize(capture(module, [(3, 8, 8), (5,)]), [x["image"]])
    for scheme in ("none", "dynamic", "both"):
        with pytest.raises(InvalidInput, match="one input and one output; the scheme static takes several"):
            quantize(module, x, scheme)
    with pytest.raises(InvalidInput, match="one input and one output"):
        run_float(capture(module, [(3, 8, 8), (5,)]), x["image"])
    with pytest.raises(InvalidInput, match="layout"):
        capture(module, [(3, 8, 8), (5,)], "features")
