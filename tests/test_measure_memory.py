"""Working memory: a network counted by hand, and random graphs against a simulation that allocates and frees buffers."""

from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_graph import LeNet
from torch import Tensor, nn

from sparsemod.graph import Graph, Operator, capture, deployed
from sparsemod.measure.memory import peak, sparse_model_1, sparse_model_2, timeline


def test_lenet_by_hand() -> None:
    graph = deployed(capture(LeNet(), (1, 28, 28)))
    moments = {m.operator: (m.bytes, m.without_input) for m in timeline(graph)}
    assert moments == {
        "conv1": (784 + 4_704, 4_704),
        "max_pool": (4_704 + 1_176, 5_880),
        "conv2": (1_176 + 1_600, 2_776),
        "max_pool_2": (1_600 + 400, 2_000),
        "fc1": (400 + 120, 520),  # flatten is a view
        "fc2": (120 + 84, 204),
        "fc3": (84 + 10, 94),
    }
    assert peak(graph) == peak(graph, with_input=False) == 5_880
    assert sparse_model_1(graph) == 400 + 48_000
    assert sparse_model_2(graph) == 4_704 + 1_176


def test_a_residual_keeps_its_input_alive() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.two(torch.relu(self.one(x)))

    graph = deployed(capture(Net(), (2, 10, 10)))
    assert [(m.operator, m.bytes, m.without_input) for m in timeline(graph)] == [
        ("one", 200 + 600, 600),
        ("two", 200 + 600 + 200, 800),
        ("add", 200 + 200 + 200, 400),
    ]
    assert timeline(graph)[1].tensors == ("input", "one", "two")
    assert peak(graph) == 1_000 and peak(graph, with_input=False) == 800


def test_relu_alone_works_in_place_but_not_on_the_input() -> None:
    pooled = deployed(capture(nn.Sequential(nn.AvgPool2d(2), nn.ReLU()), (4, 4, 4)))
    assert [m.bytes for m in timeline(pooled)] == [64 + 16, 16]
    first = deployed(capture(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (4, 4, 4)))
    assert [(m.bytes, m.without_input) for m in timeline(first)] == [(128, 64), (80, 80)]


def test_a_graph_without_operators() -> None:
    graph = deployed(capture(nn.Identity(), (3, 2, 2)))
    assert timeline(graph) == () and peak(graph) == 12 and peak(graph, with_input=False) == 0


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random graphs of vectors: costs look at sizes alone. Unread tensors do not occur, as in captured graphs."""
    sizes = {"input": draw(st.integers(1, 9))}
    operators: list[Operator] = []
    for index in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(["linear", "relu", "relu6", "flatten", "add", "concat"]))
        count = {"add": 2, "concat": draw(st.integers(2, 3))}.get(kind, 1)
        recent = list(sizes)[-4:]
        inputs = tuple(draw(st.sampled_from(recent)) for _ in range(count))
        if kind == "add":
            inputs = (inputs[0], draw(st.sampled_from([n for n in sizes if sizes[n] == sizes[inputs[0]]])))
        name = f"t{index}"
        if kind == "linear":
            sizes[name] = draw(st.integers(1, 9))
        else:
            sizes[name] = sum(sizes[n] for n in inputs) if kind == "concat" else sizes[inputs[0]]
        operators.append(Operator(name, kind, inputs, name))
    output = operators[-1].output
    wanted, kept = {output}, []
    for operator in reversed(operators):
        if operator.output in wanted:
            kept.append(operator)
            wanted.update(operator.inputs)
    shapes = {name: (size,) for name, size in sizes.items() if name in wanted or name == "input"}
    return Graph("input", output, tuple(kept[::-1]), shapes, {})


@dataclass
class Block:
    """An allocated buffer and its tensors that later operators will read."""

    size: int
    waiting: set[str]
    given: bool = False


def simulate(graph: Graph) -> tuple[int, int]:
    """Return (peak with input, peak without) by running the graph with an allocator that frees tensors
    without further readers."""

    def read_from(index: int) -> set[str]:
        later = {name for operator in graph.operators[index:] for name in operator.inputs}
        return later | {graph.output}

    blocks = [Block(graph.elements("input"), {"input"}, given=True)]
    highest = [0, 0]
    for index, operator in enumerate(graph.operators):
        after = read_from(index + 1)
        source = next(b for b in blocks if operator.inputs[0] in b.waiting)
        in_place = operator.kind in ("relu", "relu6") and not source.given and not (source.waiting & after)
        if operator.kind == "flatten" or in_place:
            source.waiting.add(operator.output)
        else:
            blocks.append(Block(graph.elements(operator.output), {operator.output}))
        if operator.kind != "flatten":
            highest[0] = max(highest[0], sum(b.size for b in blocks))
            highest[1] = max(highest[1], sum(b.size for b in blocks if not b.given))
        for block in blocks:
            block.waiting &= after
        blocks = [b for b in blocks if b.waiting]
    return highest[0], highest[1]


@given(graphs())
@settings(max_examples=300)
def test_random_graphs_against_an_allocator(graph: Graph) -> None:
    if all(operator.kind == "flatten" for operator in graph.operators):
        assert peak(graph) == graph.elements("input")
    else:
        assert (peak(graph), peak(graph, with_input=False)) == simulate(graph)
    assert peak(graph, with_input=False) <= peak(graph) <= sum(graph.elements(name) for name in graph.shapes)
    assert peak(graph) >= max(graph.elements(name) for name in graph.shapes)
