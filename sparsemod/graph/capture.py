"""Capture of a `torch.nn.Module` as a graph."""

import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves

from sparsemod.errors import BuildError, InvalidInput, ProcessUnusable, SparsemodError, Unsupported
from sparsemod.graph.attention import batch_first
from sparsemod.graph.operators import Graph
from sparsemod.graph.signature import Inputs, Shapes, inputs_of
from sparsemod.graph.trace import BATCH, Program, exported, recorded
from sparsemod.graph.walk import Walker
from sparsemod.layouts import layout as layout_of
from sparsemod.stage_errors import is_out_of_memory, place_of, stage_errors, type_name


def capture(
    module: nn.Module | torch.export.ExportedProgram,
    shape: Shapes,
    layout: str | Mapping[str, str] | None = None,
) -> Graph:
    """Return the operators that `module` runs in evaluation mode on one sample of `shape`.

    `layout` names the axes of the sample (see `sparsemod.layouts`; None: the default layout of the shape, or time-features for a
    module that only takes sequences in this layout, as linear layers and attention do). A module with several
    inputs takes a list of shapes, in the order of its arguments, or a dict of shapes, by the names of its arguments or by the keys of
    the dict that is its only argument; `layout` is then a dict, too. A module may return several tensors, in tuples, lists and dicts;
    their names join the keys on the way, as in "boxes" or "output_1".

    Modules of `torch.jit.script` and `torch.jit.trace`, an `ExportedProgram` and its `.module()` work as well. The layers of a scripted
    module have the names of their weights.

    Needs: inputs (N, *shape), outputs (N, ...), and Python control flow that does not depend on the inputs' values.
    A module with the attribute `uses_lengths` also gets the number of valid steps of each sample (see `sparsemod.sequences`).
    Guarantees: `run_float` gives the same outputs; the module's mode, weights and gradients stay unchanged; the state is a float32
    copy.

    Raises InvalidInput for an invalid shape and for an object that is not such a module, BuildError when the module fails on this shape
    or cannot be traced, Unsupported for operators that no cost model, kernel or exporter supports (all in one error), and
    ProcessUnusable when this process cannot load torch.export.
    """
    if isinstance(module, torch.export.ExportedProgram):
        module = module.module()
    _check_module(module)
    inputs = inputs_of(module, shape, layout)
    unstated = [name for name, each in inputs.shapes.items() if len(each) == 2 and name not in inputs.layouts]
    try:
        return _captured(module, inputs)
    except Unsupported as error:
        if not unstated:
            raise
        steps = replace(inputs, layouts={**inputs.layouts, **dict.fromkeys(unstated, "time-features")})
        try:
            return _captured(module, steps)
        except SparsemodError:
            raise error from None


def _captured(module: nn.Module, inputs: Inputs) -> Graph:
    batch = _batch_of(module)
    examples = inputs.arguments([example_for(module, each, batch) for each in inputs.shapes.values()])
    with evaluating(module), batch_first(module), warnings.catch_warnings():
        # These warnings concern speed on this machine or torch's internals; the module's author cannot act on them.
        warnings.simplefilter("ignore")
        if getattr(module, "uses_lengths", False):
            return _with_lengths(module, examples, inputs)
        try:
            return _graph(module, recorded(module, examples), inputs)
        except Exception as error:  # not an error yet: torch.export decides, and its messages are better
            if is_out_of_memory(error):
                raise
            if isinstance(module, torch.jit.ScriptModule):  # torch.export takes no scripted modules
                if isinstance(error, SparsemodError):
                    raise
                raise _cannot_capture(module, error) from error
        _run(module, examples)
        try:
            program = exported(module, examples)
        except ProcessUnusable:
            raise
        except Exception as error:
            raise _cannot_capture(module, error) from error
        with stage_errors("capture"):
            return _graph(module, program, inputs)


def capture_one(module: nn.Module, shape: Sequence[int], layout: str | None = None) -> Graph:
    """Capture a module with one input and one output, as training and pruning need it. Raises BuildError for several outputs."""
    graph = capture(module, tuple(shape), layout)
    if graph.other_outputs:
        names = ", ".join(graph.outputs)
        raise BuildError(
            f"training and pruning need a network with one output; this one returns {names}; capture, quantize and export take several",
            type(module).__name__,
        )
    return graph


def _with_lengths(module: nn.Module, examples: tuple[Any, ...], inputs: Inputs) -> Graph:
    """Capture a module that reads lengths; torch.export cannot trace how they pack sequences."""
    name, shape = next(iter(inputs.shapes.items()))
    steps = layout_of(inputs.layouts.get(name), shape).image(shape)[2]
    lengths = torch.full((len(examples[0]),), steps)
    _run(module, (*examples, lengths))
    try:
        program = recorded(module, examples, lengths)
    except Exception as error:
        if isinstance(error, SparsemodError) or is_out_of_memory(error):
            raise
        hint = f"the lengths may only reach packed recurrent layers and the functions of sparsemod.sequences; {_first_line(error)}"
        raise Unsupported("use of the lengths", type(module).__name__, "capture", hint=hint) from error
    with stage_errors("capture"):
        return _graph(module, program, inputs)


def _batch_of(module: nn.Module) -> int:
    """Return the number of samples of the example; an exported module may take only the number with which it was exported."""
    if isinstance(module, GraphModule):
        for node in module.graph.nodes:
            value = node.meta.get("val")
            if (
                node.op == "placeholder"
                and isinstance(value, Tensor)
                and value.ndim
                and isinstance(value.shape[0], int)
            ):
                return int(value.shape[0])
    return BATCH


def example_for(module: nn.Module, shape: Sequence[int], batch: int = BATCH) -> Tensor:
    """Return zeros of the shape, with a batch axis, on the device of the module's weights."""
    first = next(module.parameters(), torch.zeros(0))
    return torch.zeros(batch, *shape, dtype=first.dtype, device=first.device)


def _graph(module: nn.Module, program: Program, inputs: Inputs) -> Graph:
    return Walker(program, inputs, _layer_weights(module)).graph()


def _layer_weights(module: nn.Module) -> frozenset[str]:
    """Return the names of the weights that are parameters of convolutions, linear and recurrent layers."""
    return frozenset(
        f"{path}.{name}" if path else name
        for path, part in module.named_modules()
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear | nn.RNNBase)
        for name, parameter in part._parameters.items()
        if parameter is not None and name.startswith("weight")
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; on exit restore the mode of every submodule and the attributes that `forward` set."""
    before = [(part, dict(part.__dict__), part.training) for part in module.modules()]
    try:
        for part, _, _ in before:
            part.training = False
        yield
    finally:
        for part, attributes, mode in before:
            if isinstance(part, torch.jit.ScriptModule):  # its mode is no attribute of Python
                part.training = mode
            for name in [name for name in part.__dict__ if name not in attributes]:
                del part.__dict__[name]
            part.__dict__.update(attributes)


def _run(module: nn.Module, examples: tuple[Any, ...]) -> None:
    """Run the module. Raises BuildError that names the failed layer and its input shape."""
    running: list[tuple[str, tuple[int, ...]]] = []
    handles = []
    for path, part in module.named_modules():

        def enter(_: nn.Module, inputs: tuple[Any, ...], path: str = path) -> None:
            sizes = tuple(inputs[0].shape[1:]) if inputs and isinstance(inputs[0], Tensor) else ()
            running.append((path, sizes))

        def leave(_: nn.Module, inputs: Any, result: Any) -> None:
            running.pop()

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        with torch.no_grad():
            module(*examples)
    except SparsemodError:
        raise
    except Exception as failure:
        if any(frame.filename.endswith(_COND) for frame in traceback.extract_tb(failure.__traceback__)):
            hint = "a branch that values choose; a Python if on shapes and settings works"
            raise Unsupported("cond", type(module).__name__, "capture", hint=hint) from failure
        given = [tuple(tensor.shape[1:]) for tensor in tree_leaves(examples) if isinstance(tensor, Tensor)]
        path, sizes = running[-1] if running else ("", given[0])
        words = " and ".join(map(str, given))
        failed_class = type(module.get_submodule(path)).__name__
        raise BuildError(
            f"the network does not run on samples of shape {words}: "
            f"{failed_class} received shape {sizes}: {_first_line(failure)}",
            path or type(module).__name__,
        ) from failure
    finally:
        for handle in handles:
            handle.remove()


_COND = "_higher_order_ops/cond.py"


def _check_module(module: object) -> None:
    """Raise InvalidInput for anything but a module of Python code."""
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise InvalidInput("network", f"the class {module.__name__}", "an instance of it")
    if not isinstance(module, nn.Module):
        raise InvalidInput("network", type_name(module), "a torch.nn.Module or a captured graph")


def _cannot_capture(module: nn.Module, error: Exception) -> SparsemodError:
    """Return the error for a module that runs, but that torch.export cannot trace."""
    kind = type(error).__name__
    if "DataDependent" in kind:
        hint = f"forward must not depend on the input's values; torch.export says: {_first_line(error)}"
        operator = "data-dependent control flow"
        return Unsupported(operator, type(module).__name__, "capture", hint=hint)
    return BuildError(
        f"the network runs, but torch.export cannot trace it: {kind}: {_first_line(error)} ({place_of(error)})",
        type(module).__name__,
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
