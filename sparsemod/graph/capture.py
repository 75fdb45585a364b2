"""Capture of a `torch.nn.Module` as a graph."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.errors import BuildError, InvalidInput, SparsemodError, Unsupported
from sparsemod.graph.operators import Graph
from sparsemod.graph.trace import BATCH, Program, exported, recorded
from sparsemod.graph.walk import Walker
from sparsemod.layouts import described
from sparsemod.layouts import layout as layout_of
from sparsemod.stage_errors import is_out_of_memory, place_of, stage_errors, type_name


def capture(module: nn.Module, shape: Sequence[int], layout: str | None = None) -> Graph:
    """Return the operators that `module` runs in evaluation mode on one sample of `shape`.

    `layout` names the axes of the sample (see `sparsemod.layouts`; None: the default layout of the shape).

    Needs: one input (N, *shape), one output (N, classes), and Python control flow that does not depend on the input's values.
    A module with the attribute `uses_lengths` also gets the number of valid steps of each sample (see `sparsemod.sequences`).
    Guarantees: `run_float` gives the same outputs; the module's mode, weights and gradients stay unchanged; the state is a float32
    copy.

    Raises InvalidInput for an invalid shape and for an object that is not such a module, BuildError when the module fails on this shape
    or cannot be traced, and Unsupported for operators that no cost model, kernel or exporter supports (all in one error).
    """
    _check_module(module)
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise InvalidInput("shape", tuple(shape), f"positive whole numbers: one of {described()}")
    layout_name = layout_of(layout, tuple(shape)).name
    example = example_for(module, shape)
    with evaluating(module), warnings.catch_warnings():
        # These warnings concern speed on this machine or torch's internals; the module's author cannot act on them.
        warnings.simplefilter("ignore")
        if getattr(module, "uses_lengths", False):
            return _with_lengths(module, example, shape, layout_name)
        try:
            return _graph(module, recorded(module, example), shape, layout_name)
        except Exception as error:  # not an error yet: torch.export decides, and its messages are better
            if is_out_of_memory(error):
                raise
        _run(module, example)
        try:
            program = exported(module, example)
        except Exception as error:
            raise _cannot_capture(module, error) from error
        with stage_errors("capture"):
            return _graph(module, program, shape, layout_name)


def _with_lengths(module: nn.Module, example: Tensor, shape: Sequence[int], layout: str) -> Graph:
    """Capture a module that reads lengths; torch.export cannot trace how they pack sequences."""
    steps = layout_of(layout, tuple(shape)).image(tuple(shape))[2]
    lengths = torch.full((len(example),), steps)
    _run(module, example, lengths)
    try:
        program = recorded(module, example, lengths)
    except Exception as error:
        if isinstance(error, SparsemodError) or is_out_of_memory(error):
            raise
        hint = f"the lengths may only reach packed recurrent layers and the functions of sparsemod.sequences; {_first_line(error)}"
        raise Unsupported("use of the lengths", type(module).__name__, "capture", hint=hint) from error
    with stage_errors("capture"):
        return _graph(module, program, shape, layout)


def example_for(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return zeros of the shape, with a batch axis, on the device of the module's weights."""
    first = next(module.parameters(), torch.zeros(0))
    return torch.zeros(BATCH, *shape, dtype=first.dtype, device=first.device)


def _graph(module: nn.Module, program: Program, shape: Sequence[int], layout: str | None = None) -> Graph:
    return Walker(program, tuple(shape), _layer_weights(module), layout).graph()


def _layer_weights(module: nn.Module) -> frozenset[str]:
    """Return the names of the weights that are parameters of convolutions and linear layers."""
    return frozenset(
        f"{path}.weight" if path else "weight"
        for path, part in module.named_modules()
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear) and part._parameters.get("weight") is not None
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; on exit restore the mode of every submodule and the attributes that `forward` set."""
    before = [(part, dict(part.__dict__)) for part in module.modules()]
    try:
        for part, _ in before:
            part.training = False
        yield
    finally:
        for part, attributes in before:
            for name in [name for name in part.__dict__ if name not in attributes]:
                del part.__dict__[name]
            part.__dict__.update(attributes)


def _run(module: nn.Module, *example: Tensor) -> None:
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
            module(*example)
    except SparsemodError:
        raise
    except Exception as failure:
        path, sizes = running[-1] if running else ("", tuple(example[0].shape[1:]))
        failed_class = type(module.get_submodule(path)).__name__
        raise BuildError(
            f"the network does not run on samples of shape {tuple(example[0].shape[1:])}: "
            f"{failed_class} received shape {sizes}: {_first_line(failure)}",
            path or type(module).__name__,
        ) from failure
    finally:
        for handle in handles:
            handle.remove()


_EAGER = "the plain nn.Module it was created from"


def _check_module(module: object) -> None:
    """Raise InvalidInput for anything but a module of Python code."""
    if isinstance(module, torch.jit.ScriptModule):
        raise InvalidInput("network", f"a TorchScript module ({type_name(module)})", _EAGER)
    if isinstance(module, torch.export.ExportedProgram):
        raise InvalidInput("network", "an ExportedProgram", _EAGER)
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
