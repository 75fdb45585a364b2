"""A kind of operator without rules: each stage answers Unsupported, which names the stage, the operator and the layer."""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support_docs import ROOT
from support_operators import STAGES, unregistered_afterwards
from test_operators_crossing import CAPTURED, LAYERED

from sparsemod.arena.memory import MEMORY, over_input
from sparsemod.errors import Unsupported
from sparsemod.export import export
from sparsemod.export.c import generate
from sparsemod.export.c.dynamic.layers import DYNAMIC_EMITTERS
from sparsemod.export.c.special import HELIUM, NARROW, SPECIAL
from sparsemod.export.tflite.exporter import to_tflite
from sparsemod.graph import Graph, Operator, run_float
from sparsemod.graph.aten import TRANSLATIONS, captured_from
from sparsemod.graph.macs import macs
from sparsemod.kinds import KINDS, Kind, Stage
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.work import CONSTANTS, works
from sparsemod.pruning import planned_shrink_graph
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.dynamic_rules import DYNAMIC
from sparsemod.quantization.layers import Layer
from sparsemod.quantization.tensor import TensorInfo

NAME = "blocks.0.odd"


@dataclass(frozen=True, eq=False)
class Odd(Layer):
    """A layer that no stage knows."""

    kind: ClassVar[str] = "odd"

    def shape(self, inputs: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        return self.one_input(inputs)


def graph() -> Graph:
    odd = Operator(NAME, "odd", ("x",), "y", weight="w")
    return Graph("x", "y", (odd,), {"x": (3,), "y": (3,)}, {"w": torch.ones(3, 3)})


def network() -> IntegerNetwork:
    info = TensorInfo(shape=(3,), scale=0.5, zero_point=0)
    return IntegerNetwork("x", "y", {"x": info, "y": info}, (Odd(NAME, ("x",), "y"),))


def planned(call: Callable[[Graph], Any]) -> Any:
    """Call with a graph whose memory can be planned."""
    MEMORY.add("odd", over_input)
    return call(graph())


SAMPLE = np.zeros((1, 3), np.int8)
CALLS: dict[str, Callable[[Path], Any]] = {
    "capture": lambda folder: captured_from("odd"),
    "float": lambda folder: run_float(graph(), torch.zeros(1, 3)),
    "macs": lambda folder: macs(graph()),
    "pruning": lambda folder: planned_shrink_graph(graph(), 0.5),
    "quantization": lambda folder: quantize(graph(), torch.zeros(1, 3)),
    "dynamic": lambda folder: DYNAMIC.rule("odd", NAME),
    "dynamic c": lambda folder: DYNAMIC_EMITTERS.rule("odd", NAME),
    "layer": lambda folder: IntegerNetwork.from_bytes(network().to_bytes()),
    "kernel": lambda folder: network().run(SAMPLE),
    "memory": lambda folder: graph_layout(graph()),
    "features": lambda folder: planned(works),
    "c": lambda folder: generate(network()),
    "onnx": lambda folder: export("onnx", network(), folder),
    "tflite": lambda folder: to_tflite(network()),
}


@pytest.mark.parametrize("stage", [name for name, _, _ in (*CAPTURED, *LAYERED)])
def test_a_kind_without_rules_is_unsupported(stage: str, tmp_path: Path) -> None:
    rules = next(found for name, found, _ in (*CAPTURED, *LAYERED) if name == stage) or TRANSLATIONS
    with unregistered_afterwards():
        KINDS.add("odd", Kind("odd", "no stage knows it", weighted=True))
        with pytest.raises(Unsupported) as refused:
            CALLS[stage](tmp_path)
    assert refused.value.operator == "odd"
    assert refused.value.by == rules.title
    assert refused.value.layer == ("any" if stage == "capture" else NAME)


def test_every_stage_has_a_column_in_the_crossing() -> None:
    """A stage that a module declares is exercised, and its rules are unregistered after a test.

    Kinds without constants have no rule for their size. The measured flash of networks tests those that have. Kinds without a kernel of
    their own run the shared one: the tests of the kernels of single shapes have a case for each kind that has one.
    """
    declared: list[Stage[Any]] = []
    for path in (ROOT / "sparsemod").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name in re.findall(r"^(\w+): \"?Stage\[.*= Stage\(", path.read_text(), re.MULTILINE):
            declared.append(getattr(importlib.import_module(module), name))
    crossed = [
        CONSTANTS,
        SPECIAL,
        HELIUM,
        NARROW,
        *(rules or TRANSLATIONS for _, rules, _ in (*CAPTURED, *LAYERED)),
    ]
    assert {stage.title for stage in declared} == {stage.title for stage in crossed}
    assert all(stage in crossed and stage in STAGES for stage in declared)
