"""The graph of a network whose layers have become chains, before any training."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from sparsemod.graph import Graph, Operator, capture
from sparsemod.pruning.low_rank.layers import Decomposed, Layer, Source, as_four


def graph_sources(graph: Graph) -> dict[str, Source]:
    """Return the layers of a captured graph that can be decomposed, by the name of their weight.

    A weight that other code than its layer reads, such as that of an attention's projection, stays: the operator then
    has another name than the layer.
    """
    found = {}
    for operator in graph.operators:
        parameter = operator.attributes.get("parameter")
        if operator.weight is None or parameter is None or parameter in found:
            continue
        path = parameter.rpartition(".")[0]
        if not path or not f"{operator.name}.".startswith(f"{path}."):
            continue
        weight = graph.state[operator.weight]
        if operator.window.groups > 1 or min(weight.shape[:2]) < 2 or weight.dim() > 4:
            continue
        axes = 2 if weight.dim() == 4 else weight.dim() - 2
        if axes == 2 and len(graph.shapes[operator.inputs[0]]) < 3:
            axes = 1
        found[parameter] = Source(parameter, as_four(weight).double(), axes)
    return found


def graph_layer(graph: Graph, operator: Operator, source: Source) -> Layer:
    """Return a layer with the settings of an operator, without its weights and its uneven padding."""
    outputs, inputs = source.shape[:2]
    biased = operator.bias is not None
    if source.axes == 0:
        return nn.Linear(inputs, outputs, biased)
    window = operator.window
    top, left = (min(window.around(axis)) for axis in (0, 1))
    if source.axes == 1:
        return nn.Conv1d(
            inputs, outputs, window.kernel[1], window.stride[1], left, window.dilation[1], bias=biased
        )
    return nn.Conv2d(inputs, outputs, window.kernel, window.stride, (top, left), window.dilation, bias=biased)


def replaced(graph: Graph, chains: Mapping[str, Decomposed]) -> Graph:
    """Return the graph with chains in place of the layers whose weights have the given names.

    The names of operators and tensors are those of the captured module with these chains.
    """
    regions = [
        _region(graph, place)
        for place, operator in enumerate(graph.operators)
        if operator.attributes.get("parameter") in chains
    ]
    starts = {region.start: region for region in regions}
    inside = {place for region in regions for place in region}
    ahead = {place: path for region in regions for place, path in _ahead(graph, region)}
    names = {operator.name for place, operator in enumerate(graph.operators) if place not in inside}
    operators: list[Operator] = []
    shapes, layouts = dict(graph.shapes), dict(graph.layouts)
    state = {
        k: v
        for o in graph.operators
        if o.attributes.get("parameter") not in chains
        for k, v in _held(graph, o)
    }
    renamed: dict[str, str] = {}
    for place, first in enumerate(graph.operators):
        inputs = tuple(renamed.get(name, name) for name in first.inputs)
        if place in ahead:
            name = f"{ahead[place]}.0.{first.name.removeprefix(f'{ahead[place]}.')}"
            operators.append(dataclasses.replace(first, name=name, inputs=inputs, output=name))
            shapes[name] = shapes.pop(first.output)
            if first.output in layouts:
                layouts[name] = layouts.pop(first.output)
            renamed[first.output] = name
            continue
        if place not in inside:
            operators.append(dataclasses.replace(first, inputs=inputs))
            continue
        if place not in starts:
            continue
        region = [graph.operators[i] for i in starts[place]]
        operator = next(o for o in region if o.attributes.get("parameter") in chains)
        parameter = str(operator.attributes["parameter"])
        part = capture(
            nn.Sequential(_uneven(operator), _along(graph, region, operator, chains[parameter])),
            graph.shapes[first.inputs[0]],
            graph.layout(first.inputs[0]).name,
        )
        path = parameter.rpartition(".")[0]
        mine = {part.input: inputs[0]}
        for step in part.operators:
            name = _free(_inside(path, step.name), step.kind, names)
            mine[step.output] = name
            operators.append(_moved(step, name, path, tuple(mine[i] for i in step.inputs)))
            shapes[name] = part.shapes[step.output]
            if step.output in part.layouts:
                layouts[name] = part.layouts[step.output]
        state.update({_inside(path, key): tensor for key, tensor in part.state.items()})
        renamed[region[-1].output] = mine[part.output]
        for gone in region:
            shapes.pop(gone.output, None)
            layouts.pop(gone.output, None)
    output = renamed.get(graph.output, graph.output)
    return dataclasses.replace(
        graph, output=output, operators=tuple(operators), shapes=shapes, layouts=layouts, state=state
    )


def _region(graph: Graph, place: int) -> range:
    """Return the places of a layer's operators: the one with weights, and the transposes around it.

    A linear layer along an axis has them. They bear the layer's name, and only the layer uses them.
    """
    operators, users = graph.operators, graph.users()
    path = f"{str(operators[place].attributes['parameter']).rpartition('.')[0]}."

    def joined(before: Operator, after: Operator, mine: Operator) -> bool:
        alone = len(users[before.output]) == 1 and before.output not in graph.outputs.values()
        view = mine.traits.view and mine.traits.same_image
        return view and mine.name.startswith(path) and after.inputs == (before.output,) and alone

    first = last = place
    while first > 0 and joined(operators[first - 1], operators[first], operators[first - 1]):
        first -= 1
    while last + 1 < len(operators) and joined(operators[last], operators[last + 1], operators[last + 1]):
        last += 1
    return range(first, last + 1)


def _ahead(graph: Graph, region: range) -> Iterator[tuple[int, str]]:
    """Yield the places of copies that a layer makes of its input, and its path; the chain's first layer makes them then."""
    makers = {operator.output: place for place, operator in enumerate(graph.operators)}
    parameter = next(o for o in (graph.operators[i] for i in region) if o.traits.weighted).attributes[
        "parameter"
    ]
    path = str(parameter).rpartition(".")[0]
    place = makers.get(graph.operators[region.start].inputs[0])
    while place is not None and graph.operators[place].name.startswith(f"{path}."):
        yield place, path
        place = makers.get(graph.operators[place].inputs[0])


def _along(graph: Graph, region: Sequence[Operator], operator: Operator, chain: Decomposed) -> nn.Module:
    """Return the chain for a tensor as the region reads it: a linear layer on channels that come first needs them last."""
    first = graph.layout(operator.inputs[0]).channel == 0 and len(graph.shapes[operator.inputs[0]]) > 1
    linear = isinstance(chain.original, nn.Linear)
    return _ChannelsLast(chain) if linear and first and region[0] is operator else chain


class _ChannelsLast(nn.Module):
    """A module on the channels of a tensor (N, C, ...)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Return the inner module's output with channels first."""
        made: Tensor = self.inner(x.movedim(1, -1)).movedim(-1, 1)
        return made


def _held(graph: Graph, operator: Operator) -> list[tuple[str, Tensor]]:
    return [(key, graph.state[key]) for key in operator.keys]


def _inside(path: str, name: str) -> str:
    """Return the name in the whole network of a part of `Sequential(padding, chain)`, whose chain is `path`."""
    return f"{path}.{name.removeprefix('1.').removeprefix('inner.')}"


def _uneven(operator: Operator) -> nn.Module:
    """Return the padding by which one side of an axis exceeds the other: a layer of its own in the network."""
    window = operator.window
    (top, bottom), (left, right) = window.around(0), window.around(1)
    rows, columns = min(top, bottom), min(left, right)
    top, bottom, left, right = top - rows, bottom - rows, left - columns, right - columns
    if top or bottom:
        return nn.ZeroPad2d((left, right, top, bottom))
    return nn.ConstantPad1d((left, right), 0.0) if left or right else nn.Identity()


def _moved(step: Operator, name: str, path: str, inputs: tuple[str, ...]) -> Operator:
    attributes = dict(step.attributes)
    if attributes.get("parameter"):
        attributes["parameter"] = _inside(path, attributes["parameter"])

    def within(key: str | None) -> str | None:
        return None if key is None else _inside(path, key)

    return dataclasses.replace(
        step, name=name, inputs=inputs, output=name, attributes=attributes,
        weight=within(step.weight), bias=within(step.bias),
    )  # fmt: skip


def _free(name: str, kind: str, taken: set[str]) -> str:
    """Return a name as capture gives it: with the kind, then with a number, when the name is taken."""
    candidates = [name, f"{name}.{kind}"]
    count = 2
    while candidates[0] in taken:
        candidates.pop(0)
        if not candidates:
            candidates = [f"{name}.{kind}_{count}"]
            count += 1
    taken.add(candidates[0])
    return candidates[0]
