"""Predictions of a core's calibrated model without execution: instructions, linked bytes of flash and RAM."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparsemod.arena import Fused, plan
from sparsemod.graph import Graph, Operator
from sparsemod.measure.encodings import EncodedLayer, EncodingGoal, choose, code_bytes, layer_flash
from sparsemod.measure.nodes import graph_layout, node
from sparsemod.measure.size import layer_sizes
from sparsemod.measure.work import (
    CONSTANTS,
    ROWS,
    Weights,
    Work,
    encoded,
    layer_instructions,
    weights_of,
    works,
)
from sparsemod.records import Measurement
from sparsemod.spec.methods import INT8
from sparsemod.targets import OperatorModel, calibrated_cores, operator_model


@dataclass(frozen=True)
class Predicted:
    """Instructions of one inference (`per_layer`), bytes of flash, static RAM (the arena) and stack."""

    per_layer: Mapping[str, float]
    flash: float
    static_ram: float
    stack: float
    works: tuple[Work, ...] = ()

    @property
    def instructions(self) -> float:
        """Instructions of all layers."""
        return sum(self.per_layer.values())

    @property
    def ram(self) -> float:
        """Static RAM and stack."""
        return self.static_ram + self.stack


def predict(
    graph: Graph,
    model: OperatorModel,
    arena: int | None = None,
    nonzeros: Mapping[str, int] | None = None,
    encodings: Mapping[str, str] | None = None,
    fused: Sequence[Fused] = (),
) -> Predicted:
    """Return the model's prediction for a deployed graph as int8.

    `arena`: the planned size, when known. `nonzeros`: layer -> number of nonzero weights (default: all). `encodings`: layer ->
    encoding of its weights (default: the smallest). `fused`: the layers that run together."""
    kernel_works = works(graph, nonzeros, encodings, fused)
    work = tuple(each.on(model) for each in kernel_works)
    per_layer = {w.layer: _instructions(w, model) for w in work}
    code = model.code.get("base", 0.0) + code_bytes(model, work)
    calls = sum(layer_flash(model, each) for each in work)
    stack = model.stack.get("base", 0.0) + max(
        (_stack(model, w) for w in work if w.kernel != ROWS), default=0.0
    )
    if any(each.kernel == ROWS for each in work):
        stack += model.stack.get(ROWS, 0.0)
    size = plan(graph_layout(graph, model.core, fused).problem).size if arena is None else arena
    # rounded up to whole words, as in the linked program
    return Predicted(
        per_layer,
        constants(graph, nonzeros, encodings) + code + calls,
        float((size + 3) // 4 * 4),
        stack,
        kernel_works,
    )


def _instructions(work: Work, model: OperatorModel) -> float:
    return layer_instructions(work.kernel, work.features, model, work.layer)


def _stack(model: OperatorModel, work: Work) -> float:
    """Return a layer's bytes of stack.

    For a pair of kernels without calibration, return the largest stack calibrated for any pair with the same first kernel."""
    if work.calls in model.stack:
        return model.stack[work.calls]
    return max((size for calls, size in model.stack.items() if calls.split()[0] == work.kernel), default=0.0)


def stack_bytes(core: str) -> float:
    """Return the bytes of stack that any network needs at most on a core, by its model; 0 for a core without one.

    A budget of RAM leaves the rest for the arena."""
    if core not in calibrated_cores():
        return 0.0
    stack = operator_model(core).stack
    around = stack.get("base", 0.0) + stack.get(ROWS, 0.0)
    return around + max((size for calls, size in stack.items() if calls not in ("base", ROWS)), default=0.0)


def constants(
    graph: Graph, nonzeros: Mapping[str, int] | None = None, encodings: Mapping[str, str] | None = None
) -> int:
    """Return the bytes of encoded weights, biases, scales, tables and lists."""
    channels = sum(layer.channels for layer in layer_sizes(graph))
    stored = (encoded(graph, operator, nonzeros, encodings) for operator in _weighted(graph))
    nodes = [node(operator) for operator in graph.operators]
    lists = sum(
        CONSTANTS.rule(each.kind, each.name)(graph.tensors, each)
        for each in nodes
        if CONSTANTS.has(each.kind)
    )
    return sum(one.bytes for one in stored) + channels * INT8.channel_bytes + lists


def _weighted(graph: Graph) -> list[Operator]:
    return [o for o in graph.operators if o.traits.weighted]


def chosen_encodings(
    graph: Graph,
    nonzeros: Mapping[str, int],
    goal: EncodingGoal,
    known_weights: Mapping[str, Weights] | None = None,
) -> dict[str, str]:
    """Return layer -> encoding of its weights, chosen for the whole network (see `sparsemod.measure.encodings`).

    `nonzeros`: nonzero weights of each layer; `known_weights`: the actual weights of layers, after training.

    If the goal's core has no calibrated model, the default core's model is used.
    """
    operators = {operator.name: operator for operator in _weighted(graph)}
    model = operator_model(goal.core if goal.core in calibrated_cores() else EncodingGoal().core)
    every = works(graph, nonzeros, {})
    own = {work.layer for work in every if work.on(model).kernel != work.kernel}
    if not own and all(
        graph.state[o.weight or ""].numel() == nonzeros[name] for name, o in operators.items()
    ):
        return dict.fromkeys(operators, "dense")
    layers = [
        EncodedLayer(
            work.layer,
            work.kernel,
            dict(work.features),
            (known_weights or {}).get(work.layer) or weights_of(graph, operators[work.layer], nonzeros),
            work.own,
        )
        for work in every
        if "quad_words" in work.features or work.layer in own
    ]
    names = {layer.name for layer in layers}
    others = [work for work in every if work.layer not in names]
    weights = sum(layer.weights.outputs * layer.weights.taps for layer in layers)
    flash = constants(graph, nonzeros, {}) - weights + model.code.get("base", 0.0)
    flash += sum(layer_flash(model, work) for work in others)
    rest = sum(_instructions(work, model) for work in others)
    return dict.fromkeys(operators, "dense") | choose(
        layers, model, goal, flash=flash, instructions=rest, others=others
    )


def predictions(
    predicted: Predicted, model: OperatorModel, measured: Callable[..., Measurement]
) -> tuple[Measurement, ...]:
    """Convert a prediction to measurements, with `measured(metric, value, unit, method, **detail)`."""
    title = f"operator model of {model.core}"
    judged = model.calibration
    errors = ("", "", "")
    if judged is not None:
        errors = tuple(f", mean error {e:.1%}" for e in (judged.instructions, judged.flash, judged.ram))  # type: ignore[assignment]
    cores = {core: operator_model(core) for core in calibrated_cores()}
    by_core = {
        core: round(sum(_instructions(work.on(one), one) for work in predicted.works))
        for core, one in cores.items()
    }
    return (
        measured("instructions", round(predicted.instructions), "instructions", f"predicted: {title}{errors[0]}", core=model.core, cores=by_core),
        measured("flash", round(predicted.flash), "B", f"predicted: code and constants as linked, {title}{errors[1]}", core=model.core),
        measured("ram", round(predicted.ram), "B", f"predicted: arena and stack, {title}{errors[2]}", core=model.core, static=predicted.static_ram, stack=predicted.stack),
    )  # fmt: skip
