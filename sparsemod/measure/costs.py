"""All costs of a network from its deployed graph: planned before training, measured afterwards."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from sparsemod.arena import Fused, plan
from sparsemod.arena.dynamic_memory import dynamic_problem
from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph
from sparsemod.graph.macs import macs
from sparsemod.measure import latency as latencies
from sparsemod.measure import memory, size
from sparsemod.measure.encodings import EncodingGoal
from sparsemod.measure.fusing import FusionGoal, chosen_fusions
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.predicted import chosen_encodings, predict, predictions
from sparsemod.records import Measurement
from sparsemod.spec.methods import INT8, Storage
from sparsemod.stage_errors import stage_errors
from sparsemod.targets import Device, calibrated_cores, operator_model
from sparsemod.units import ENERGY

ModelSize = Literal["deployed", "sparse", "nonzeros"]
WorkingMemory = Literal["arena", "peak", "peak_without_input", "sparse_model_1", "sparse_model_2"]
LatencyMethod = Literal["operators", "macs"]

_SIZE_METHODS: dict[str, str] = {
    "sparse": "per layer the smaller of dense and bitmap encoding, indices included",
    "nonzeros": "count of nonzero weights",
}
_MEMORY_METHODS: dict[str, str] = {
    "arena": "arena of the generated C: {} activations with the input, overlapping where kernels allow, and their scratch; the output is the caller's",
    "peak": "peak of live {} activations over the execution order, input included",
    "peak_without_input": "peak of live {} activations over the execution order, without the input",
    "sparse_model_1": "SpArSe model 1: largest layer input + weights",
    "sparse_model_2": "SpArSe model 2: largest layer input + output",
}


@stage_errors("the cost model")
def costs(
    graph: Graph,
    device: Device,
    *,
    zeros: int = 0,
    nonzeros: Mapping[str, int] | None = None,
    storage: Storage = INT8,
    integer: bool = True,
    model_size: ModelSize = "deployed",
    working_memory: WorkingMemory = "peak",
    latency: LatencyMethod = "operators",
    operations_per_second: float | None = None,
    goal: EncodingGoal | None = None,
    encodings: Mapping[str, str] | None = None,
    fusion: FusionGoal | None = None,
    fused: Sequence[Fused] | None = None,
    power_mode: str | None = None,
) -> dict[str, Measurement]:
    """Return model_size, working_memory, latency, macs, parameters and nonzeros of a deployed graph as measurements.

    For an integer network also return instructions, flash and ram, predicted by the calibrated model of the device's core, and energy
    if the device's profile states its power: in `power_mode`, by default the first one.

    `zeros`: the number of weights that pruning is planned to set to zero, at any position. If pruning shrinks the network, pass the
    shrunk graph. After training pass `nonzeros` (layer -> count) of the integer network instead; the planned costs are never below
    the costs measured then. `storage`: how the quantization scheme stores values. The latency of a network that is not `integer` is
    that of int8 kernels, as the method states.

    The encoding of weights with zeros determines instructions and flash: `encodings` (layer -> encoding) of the finished network, or
    else the encodings chosen for `goal` (default: equal weight for flash and instructions of the device's core). The layers that run
    together, some rows at a time, determine the arena: `fused` of the finished network, or else those chosen for `fusion` (default: none). `model_size`,
    `working_memory` and `latency` select the definition that becomes the value; `detail` holds the others, the memory timeline and
    the instructions per operator.

    Raises InvalidInput for an unknown definition, a latency by macs without a rate, or nonzeros of other layers.
    """
    _check("measure.model_size", model_size, ModelSize)
    _check("measure.working_memory", working_memory, WorkingMemory)
    _check("measure.latency", latency, LatencyMethod)
    layers = size.layer_sizes(graph, storage)
    weights = size.parameters(layers)
    planned = nonzeros is None
    if nonzeros is None:
        left, sparse = weights - zeros, size.planned_sparse_bytes(layers, zeros)
    else:
        left, sparse = sum(nonzeros.values()), size.sparse_bytes(layers, nonzeros)
    suffix = f", planned for {zeros} zeros" if planned and zeros else ""

    sizes = {"deployed": size.deployed_bytes(layers), "sparse": sparse, "nonzeros": left}
    moments, width = memory.timeline(graph), storage.activation_bytes
    left_of = _spread(layers, zeros) if nonzeros is None else nonzeros
    has_operator_model = latency == "operators" or device.model in calibrated_cores()
    if has_operator_model and encodings is None:
        wish = goal or EncodingGoal(core=device.model, most_flash=float(device.flash))
        encodings = chosen_encodings(graph, left_of, wish)
    if storage.quantizes_inputs or not integer:
        fused = ()
    elif fused is None:
        fused = () if fusion is None else chosen_fusions(graph, fusion, left_of, encodings)
    layout = graph_layout(graph, device.core, fused)
    memory_plan = plan(dynamic_problem(layout, graph.tensors) if storage.quantizes_inputs else layout.problem)
    memories = {
        "arena": width * memory_plan.size,
        "peak": width * max((m.bytes for m in moments), default=sum(map(graph.elements, graph.inputs))),
        "peak_without_input": width * max((m.without_input for m in moments), default=0),
        "sparse_model_1": width * memory.sparse_model_1(graph),
        "sparse_model_2": width * memory.sparse_model_2(graph),
    }
    predicted = None
    if has_operator_model:
        predicted = predict(graph, operator_model(device.model), memory_plan.size, left_of, encodings, fused)
    took = (
        latencies.by_macs(graph, operations_per_second)
        if predicted is None or latency == "macs"
        else latencies.by_operators(predicted, device)
    )

    def measured(metric: str, value: float, unit: str, method: str, **detail: object) -> Measurement:
        return Measurement(
            metric=metric, value=float(value), unit=unit, method=method, target=device.name, detail=detail
        )

    measurements = (
        measured(
            "model_size", sizes[model_size], "weights" if model_size == "nonzeros" else "B",
            storage.description if model_size == "deployed" else _SIZE_METHODS[model_size] + suffix, definition=model_size, **sizes,
        ),
        measured(
            "working_memory", memories[working_memory], "B", _MEMORY_METHODS[working_memory].format(storage.name), definition=working_memory, **memories,
            **({"fused": [{"layers": list(each.layers), "rows": each.rows} for each in fused]} if fused else {}),
            timeline=[
                {"operator": m.operator, "bytes": width * m.bytes, "without_input": width * m.without_input} for m in moments
            ],
        ),
        measured("latency", took.milliseconds, "ms", took.method + ("" if integer else ", as if it were int8"), definition=latency, instructions=took.instructions, **({"kernels": took.kernels} if took.kernels else {})),
        measured("macs", macs(graph), "MACs", "multiply-adds of conv, linear and matmul, taps on padding counted"),
        measured("parameters", weights, "weights", "weights of conv and linear, zeros included, biases not"),
        measured(
            "nonzeros", left, "weights", _SIZE_METHODS["nonzeros"] + suffix, **({} if nonzeros is None else {"layers": dict(nonzeros)}),
        ),
        *(predictions(predicted, operator_model(device.model), measured) if predicted and integer else ()),
        *([measured(ENERGY, *energy_of(device, device.weighted(predicted.per_layer, took.kernels), took.method, power_mode))] if predicted and integer and device.power else ()),
    )  # fmt: skip
    return {measurement.metric: measurement for measurement in measurements}


def energy_of(
    device: Device, instructions: float, method: str, power_mode: str | None
) -> tuple[float, str, str]:
    """Return the energy of one inference in mJ, its unit, and how it was obtained; `method`: how the instructions were."""
    name, mode = device.mode(power_mode)
    clock = (mode.clock or device.clock) / 1e6
    how = f"{method}; {mode.milliwatts:g} mW at {clock:g} MHz in mode {name} as stated: {mode.source}"
    return device.millijoules(instructions, mode), "mJ", how


def _spread(layers: tuple[size.LayerSize, ...], zeros: int) -> dict[str, int]:
    """Spread the zeros planned for the whole network evenly over its layers: their positions are known only after training."""
    weights = max(1, size.parameters(layers))
    return {layer.name: max(1, round(layer.weights * (1 - zeros / weights))) for layer in layers}


def _check(field: str, value: str, allowed: object) -> None:
    if value not in get_args(allowed):
        raise InvalidInput(field, value, f"one of {', '.join(get_args(allowed))}")
