"""Weight encodings of a finished integer network on the device."""

from dataclasses import replace

from torch import nn

from sparsemod.export.c.encoding import encoded_layers
from sparsemod.graph import Graph, capture_one, deployed, without_ending
from sparsemod.measure.encodings import EncodingGoal
from sparsemod.measure.predicted import chosen_encodings
from sparsemod.pipeline.problem import Problem
from sparsemod.quantization import IntegerNetwork
from sparsemod.targets import device


def encoding_goal(problem: Problem) -> EncodingGoal:
    """Return the encoding goal that follows from the spec's objectives and budgets.

    The objective `flash` minimizes flash; the objective `latency`, where it is counted in instructions,
    minimizes instructions. With neither, both have equal weight. The sparse definition of the model size
    uses the smallest form of every layer. Limits are the budgets of `flash` (at most the device's flash)
    and `latency`.
    """
    spec, target = problem.spec, device(problem.spec.target.device)
    timed = spec.measure.latency == "operators"
    budgets = problem.objectives.budgets
    flash = "flash" in spec.objectives
    instructions = "latency" in spec.objectives and timed
    if not (flash or instructions):
        flash = instructions = True
    most = budgets.get("latency") if timed else None
    return EncodingGoal(
        core=target.model,
        flash=flash,
        instructions=instructions,
        most_flash=min(float(target.flash), budgets.get("flash", float(target.flash))),
        smallest=spec.measure.model_size == "sparse",
        most_instructions=None if most is None else most / target.milliseconds(1.0),
    )


def captured(module: nn.Module, problem: Problem) -> tuple[Graph, tuple[str, ...]]:
    """Return the captured graph of a classifier, and the names of the last layers that it lacks: see `without_ending`.

    Training and every metric of a trial depend on the order of the classes alone. Raises the errors of `capture`.
    """
    return without_ending(capture_one(module, problem.info.shape, problem.info.layout))


def encoded(network: IntegerNetwork, module: nn.Module, problem: Problem) -> IntegerNetwork:
    """Return `network`, the integer form of `module`, with the weight encodings chosen for the spec.

    Raises the errors of `capture`.
    """
    graph = deployed(captured(module, problem)[0])
    layer_weights = {layer.name: layer.weights for layer in encoded_layers(network)}
    encodings = chosen_encodings(graph, network.layer_nonzeros(), encoding_goal(problem), layer_weights)
    return replace(network, encodings=encodings)
