"""Weight encodings of a finished integer network on the device."""

from dataclasses import replace

from torch import nn

from sparsemod.data import Dataset
from sparsemod.decoding import Decoding
from sparsemod.export.c.encoding import encoded_layers
from sparsemod.graph import Graph, capture_one, deployed, without_ending
from sparsemod.measure.encodings import EncodingGoal
from sparsemod.measure.fusing import FusionGoal, chosen_fusions
from sparsemod.measure.predicted import chosen_encodings, stack_bytes
from sparsemod.pipeline.problem import Problem
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.targets import device
from sparsemod.training.resident import fitted
from sparsemod.units import ENERGY


def encoding_goal(problem: Problem) -> EncodingGoal:
    """Return the encoding goal that follows from the spec's objectives and budgets.

    The objective `flash` minimizes flash; the objectives `latency`, where it is counted in instructions, and
    `energy` minimize instructions. With none of them, both have equal weight. The sparse definition of the model size
    uses the smallest form of every layer. Limits are the budgets of `flash` (at most the device's flash)
    `latency` and `energy`.
    """
    spec, target = problem.spec, device(problem.spec.target.device)
    timed = spec.measure.latency == "operators"
    budgets = problem.objectives.budgets
    flash = "flash" in spec.objectives
    instructions = ("latency" in spec.objectives and timed) or ENERGY in spec.objectives
    if not (flash or instructions):
        flash = instructions = True
    limits = []
    if timed and "latency" in budgets:
        limits.append(budgets["latency"] / target.milliseconds(1.0))
    if ENERGY in budgets:
        limits.append(budgets[ENERGY] / target.millijoules(1.0, target.mode(spec.target.power_mode)[1]))
    return EncodingGoal(
        core=target.model,
        flash=flash,
        instructions=instructions,
        most_flash=min(float(target.flash), budgets.get("flash", float(target.flash))),
        smallest=spec.measure.model_size == "sparse",
        most_instructions=min(limits, default=None),
    )


def fusion_goal(problem: Problem) -> FusionGoal | None:
    """Return what the layers that run together are chosen for, by the spec's `measure.fusion`, objectives and budgets; None: for nothing.

    `auto`: `ram`, or `working_memory` where it is the arena, are objectives, or budgets that a network without such layers exceeds. The
    device's RAM is a budget of `ram`. `smallest`: the smallest arena in any case.
    """
    spec, target = problem.spec, device(problem.spec.target.device)
    if spec.measure.fusion == "off" or not spec.quantization.integer:
        return None
    budgets, arena = problem.objectives.budgets, spec.measure.working_memory == "arena"
    limits = [budgets["working_memory"]] if arena and "working_memory" in budgets else []
    limits.append(min(float(target.ram), budgets.get("ram", float(target.ram))) - stack_bytes(target.model))
    memory = "ram" in spec.objectives or (arena and "working_memory" in spec.objectives)
    smallest = spec.measure.fusion == "smallest"
    return FusionGoal(
        core=target.core,
        model=target.model,
        memory=memory or smallest,
        instructions=not smallest and ("latency" in spec.objectives or ENERGY in spec.objectives),
        most=max(1.0, min(limits)),
    )


def captured(module: nn.Module, problem: Problem) -> tuple[Graph, tuple[str, ...]]:
    """Return the captured graph, and the names of the last layers that it lacks.

    Training and every metric of a classifier depend on the order of the classes alone: see `without_ending`. Raises
    the errors of `capture`.
    """
    graph = capture_one(module, problem.info.shape, problem.info.layout)
    return without_ending(graph) if problem.spec.task.targets == "classes" else (graph, ())


def decoding_of(network: IntegerNetwork | DynamicNetwork, problem: Problem, data: Dataset) -> Decoding:
    """Return what the outputs of `network` mean in the spec's task."""
    task = fitted(problem.spec.task, data)
    scores = None
    if problem.spec.task.targets == "normal":
        split = data.validation
        normal = split.x[split.y == 0]
        lengths = None if split.lengths is None else split.lengths[split.y == 0]
        known = replace(network, decoding=task.decoding())
        if isinstance(known, DynamicNetwork):
            scores = known.answers(normal, known.logits(normal, lengths))
        else:
            int8 = known.quantize_input(normal)
            scores = known.answers(int8, known.run(int8, lengths))
    return task.decoding(scores)


def encoded(network: IntegerNetwork, module: nn.Module, problem: Problem) -> IntegerNetwork:
    """Return `network`, the integer form of `module`, with the weight encodings, the core, and the layers that run together, chosen for
    the spec.

    Raises the errors of `capture`.
    """
    graph = deployed(captured(module, problem)[0])
    layer_weights = {layer.name: layer.weights for layer in encoded_layers(network)}
    nonzeros, core = network.layer_nonzeros(), device(problem.spec.target.device).core
    encodings = chosen_encodings(graph, nonzeros, encoding_goal(problem), layer_weights)
    goal = fusion_goal(problem)
    fused = () if goal is None else chosen_fusions(graph, goal, nonzeros, encodings)
    return replace(network, encodings=encodings, core=core, fused=fused)
