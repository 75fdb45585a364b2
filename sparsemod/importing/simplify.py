"""Passes over `Steps` that keep the results: quantization joined with the step before it, activations fused, copies folded."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from sparsemod.errors import Unsupported
from sparsemod.graph.functions import X, inside
from sparsemod.importing.steps import Scale, Step, Steps
from sparsemod.importing.views import moved
from sparsemod.patterns import OUTSIDE

_CLAMPS = ("conv", "linear", "pair")
_KEEPS_SCALE = ("view", "max_pool")
SOFTMAX_SCALE = Scale(1 / 256, -128)
_FIXED = {("sigmoid", X): SOFTMAX_SCALE, ("tanh", X): Scale(1 / 128, 0)}


def simplified(model: Steps) -> Steps:
    """Return the model with padding, permutations and, in an int8 model, quantization and activations fused."""
    passes: tuple[Callable[[Steps], Steps], ...] = (
        (_quantized_input, _join_quantize, _fuse_clamps, _compose_functions, _inherit_scales)
        if model.quantized
        else ()
    )
    for each in (_reduced_positions, *passes, _fuse_pads, _permute_weights):
        model = each(model).needed()
    return model


def _reduced_positions(model: Steps) -> Steps:
    """Let a reduction of all axes but one read that axis as the channels: files with channels last have it as the last axis."""
    for name in _names(model, "reduce"):
        step = _step(model, name)
        source, axes, operator = step.inputs[0], step.attributes["axes"], step.attributes["operator"]
        shape = model.shapes[source]
        kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
        if kept == (0,) or len(kept) != 1 or step.attributes["keep"] or operator == "sum":
            continue
        if not model.quantized and len(axes) == 1:
            continue  # steps by features are a layout of their own
        turned, order = f"{step.output}/turned", (*kept, *axes)
        view = {"operator": "transpose", "arguments": {"order": order}}
        first = replace(step, kind="view", name=f"{step.name}.turned", output=turned, attributes=view)
        mean = {"keep": False}
        largest = {"operator": operator, "axes": tuple(range(1, len(shape))), "keep": False}
        kind, attributes = ("mean", mean) if operator == "mean" else ("reduce", largest)
        second = replace(step, kind=kind, inputs=(turned,), attributes=attributes)
        steps = [one for each in model.steps for one in ((first, second) if each is step else (each,))]
        shapes = {**model.shapes, turned: tuple(shape[axis] for axis in order)}
        scales = {**model.scales, turned: model.scales[source]} if source in model.scales else model.scales
        model = replace(model, steps=tuple(steps), shapes=shapes, scales=scales)
    return model


def _quantized_input(model: Steps) -> Steps:
    """Drop the quantization of a float input: the integer network's input is the int8 tensor."""
    readers = model.users()[model.input]
    if model.input in model.scales or not readers or any(step.kind != "quantize" for step in readers):
        return model
    if len({model.scales[step.output] for step in readers}) > 1:
        return model
    first, *rest = readers
    renames = {step.output: first.output for step in rest}
    steps = tuple(_renamed(s, renames) for s in model.steps if s not in readers)
    output = renames.get(model.output, model.output)
    return replace(model, input=first.output, steps=steps, output=output)


def _join_quantize(model: Steps) -> Steps:
    """Let the step before a quantization compute the int8 tensor; drop quantizations that change nothing."""
    for name in _names(model, "quantize"):
        step = _step(model, name)
        (source,) = step.inputs
        if source in model.scales:
            if model.scales[source] == model.scales[step.output]:
                model = _dropped(model, step)
            continue
        producer = next((s for s in model.steps if s.output == source), None)
        if producer is None or model.users()[source] != [step] or source == model.output:
            continue
        joined = replace(producer, output=step.output)
        steps = tuple(joined if s is producer else s for s in model.steps if s is not step)
        model = replace(model, steps=steps, shapes={**model.shapes, step.output: model.shapes[step.output]})
    return model


def _fuse_clamps(model: Steps) -> Steps:
    """Fuse relu and clamps into the step before, where its result is not int8."""
    for name in _names(model, "function"):
        step = _step(model, name)
        bounds = _bounds(step)
        (source,) = step.inputs
        producer = next((s for s in model.steps if s.output == source), None)
        if bounds is None or producer is None or producer.kind not in _CLAMPS or source in model.scales:
            continue
        if model.users()[source] != [step] or source == model.output:
            continue
        low, high = producer.attributes.get("clamp", (None, None))
        lows, highs = ([b for b in pair if b is not None] for pair in ((low, bounds[0]), (high, bounds[1])))
        both = (max(lows, default=None), min(highs, default=None))
        joined = replace(producer, output=step.output, attributes={**producer.attributes, "clamp": both})
        model = replace(
            model, steps=tuple(joined if s is producer else s for s in model.steps if s is not step)
        )
    return model


def _bounds(step: Step) -> tuple[float | None, float | None] | None:
    name, *operands = step.attributes["function"]
    if len(operands) and operands[0] != X:
        return None
    if name == "relu":
        return 0.0, None
    if name == "relu6":
        return 0.0, 6.0
    return (operands[1], operands[2]) if name == "clamp" else None


def _compose_functions(model: Steps) -> Steps:
    """Make one function of functions in a row whose intermediate results are not int8."""
    for name in _names(model, "function"):
        step = _step(model, name)
        (source,) = step.inputs
        producer = next((s for s in model.steps if s.output == source), None)
        if (
            producer is None
            or producer.kind != "function"
            or source in model.scales
            or source == model.output
        ):
            continue
        if model.users()[source] != [step]:
            continue
        function = inside(step.attributes["function"], producer.attributes["function"])
        joined = replace(step, inputs=producer.inputs, attributes={"function": function})
        model = replace(
            model, steps=tuple(joined if s is step else s for s in model.steps if s is not producer)
        )
    return model


def _inherit_scales(model: Steps) -> Steps:
    """Give copies, maxima and functions with a prescribed scale their scale. Raises Unsupported for results that stay float."""
    scales, notes, refused = dict(model.scales), list(model.notes), []
    users = model.users()
    for step in reversed(
        model.steps
    ):  # a copy of float values that is quantized: its input has the same scale
        source = step.inputs[0]
        if step.kind == "view" and step.output in scales and source not in scales and users[source] == [step]:
            scales[source] = scales[step.output]
    for step in model.steps:
        if step.output in scales:
            continue
        if step.kind in _KEEPS_SCALE and step.inputs[0] in scales:
            scales[step.output] = scales[step.inputs[0]]
        elif step.kind == "softmax" or (step.kind == "function" and step.attributes["function"] in _FIXED):
            scales[step.output] = _FIXED.get(step.attributes.get("function", ()), SOFTMAX_SCALE)
            notes.append(
                f"{step.title}: float in the file, int8 with the scale {scales[step.output].scale:g} here"
            )
        else:
            hint = "its result is float in this int8 model: quantize the whole model"
            refused.append(Unsupported(step.kind, step.title, "reading an int8 model", hint=hint))
            scales[step.output] = Scale(1.0, 0)
    if model.input not in scales:
        hint = "its input is float and is not quantized first"
        refused.insert(0, Unsupported("input", model.input, "reading an int8 model", hint=hint))
    if refused:
        raise refused[0].beside(refused[1:])
    return replace(model, scales=scales, notes=tuple(notes))


def _fuse_pads(model: Steps) -> Steps:
    """Make a padding with zeros before a convolution part of the convolution."""
    for name in _names(model, "conv"):
        step = _step(model, name)
        (source,) = step.inputs
        pad = next((s for s in model.steps if s.output == source), None)
        if pad is None or pad.kind != "view" or pad.attributes["operator"] != "pad":
            continue
        arguments = pad.attributes["arguments"]
        amounts = arguments["amounts"]
        plain = arguments.get("mode", "constant") == "constant" and not arguments.get("value", 0.0)
        if not plain or min(amounts) < 0 or any(amounts[:2]) or model.users()[source] != [step]:
            continue
        around = (0, 0, 0, 0, *amounts[2:])[-4:]
        padding = tuple(a + b for a, b in zip(step.attributes["padding"], around, strict=True))
        joined = replace(step, inputs=pad.inputs, attributes={**step.attributes, "padding": padding})
        model = replace(model, steps=tuple(joined if s is step else s for s in model.steps if s is not pad))
    return model


def _permute_weights(model: Steps) -> Steps:
    """Let a linear layer read a flattened tensor in its own order: permute the weights instead of the elements."""
    for name in _names(model, "linear"):
        step = _step(model, name)
        chain: list[Step] = []
        source, reader = step.inputs[0], step
        while True:
            producer = next((s for s in model.steps if s.output == source), None)
            if producer is None or producer.kind != "view" or model.users()[source] != [reader]:
                break
            chain.insert(0, producer)
            source, reader = producer.inputs[0], producer
        if not chain or len(model.shapes[step.inputs[0]]) != 1:
            continue
        size = step.attributes["weight"].shape[1]
        shape = model.shapes[source]
        index = torch.arange(float(np.prod(shape))).reshape(1, *shape)
        for view in chain:
            index, _ = moved(index, view.attributes["operator"], view.attributes["arguments"])
        order = index.reshape(-1).round().long().numpy()
        if OUTSIDE in order or not np.array_equal(np.sort(order), np.arange(size)):
            continue
        if np.array_equal(order, np.arange(size)) and len(chain) == 1:
            continue
        weight = np.empty_like(step.attributes["weight"])
        weight[:, order] = step.attributes["weight"]
        flat, last = f"{step.output}/vector", chain[-1]
        flatten = replace(
            last, inputs=(source,), output=flat, attributes={"operator": "flatten", "arguments": {}}
        )
        direct = len(shape) == 1
        linear = replace(
            step, inputs=(source if direct else flat,), attributes={**step.attributes, "weight": weight}
        )
        steps: list[Step] = []
        for each in model.steps:
            if each is step:
                steps += [linear] if direct else [flatten, linear]
            elif each not in chain:
                steps.append(each)
        shapes, scales = {**model.shapes, flat: (size,)}, dict(model.scales)
        if source in scales:
            scales[flat] = scales[source]
        model = replace(model, steps=tuple(steps), shapes=shapes, scales=scales)
    return model


def _names(model: Steps, kind: str) -> list[str]:
    return [step.name for step in model.steps if step.kind == kind]


def _step(model: Steps, name: str) -> Step:
    """Return a step in its current form: a pass may have changed it."""
    return next(step for step in model.steps if step.name == name)


def _dropped(model: Steps, step: Step) -> Steps:
    renames = {step.output: step.inputs[0]}
    steps = tuple(_renamed(s, renames) for s in model.steps if s is not step)
    return replace(model, steps=steps, output=renames.get(model.output, model.output))


def _renamed(step: Step, renames: dict[str, str]) -> Step:
    return replace(step, inputs=tuple(renames.get(name, name) for name in step.inputs))
