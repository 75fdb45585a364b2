"""The inputs and outputs of a module: how to call it with several tensors, and the names of what it returns."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.layouts import Shape, described
from sparsemod.layouts import layout as layout_of

INPUT = "input"
"""The name of the only input in a graph."""

Shapes = Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a module: `shapes` and the `layouts` that were stated, by name, in the order of its arguments.

    `form` says how `forward` gets them: each as an argument, or all in one tuple or one dict.
    """

    shapes: Mapping[str, Shape]
    layouts: Mapping[str, str]
    form: str = "arguments"
    defaults: Mapping[int, Any] = dataclasses.field(default_factory=dict)
    keys: tuple[str, ...] = ()

    def arguments(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments of a call of the module with these tensors, one for each input."""
        if self.form == "dict":
            return (dict(zip(self.keys, tensors, strict=True)),)
        if self.form == "tuple":
            return (tuple(tensors),)
        given = list(tensors)
        count = len(given) + len(self.defaults)
        return tuple(self.defaults[i] if i in self.defaults else given.pop(0) for i in range(count))


def inputs_of(
    module: nn.Module, shape: Shapes, layout: str | Mapping[str, str] | None, field: str = "shape"
) -> Inputs:
    """Return the inputs that `shape` describes: one shape, or several, by name or in order.

    Names are those of `forward`'s parameters, or the keys of the dict that is its only parameter. Raises InvalidInput for shapes and
    layouts that are none, and for names that `forward` does not have.
    """
    if not isinstance(shape, Mapping) and not any(isinstance(n, Sequence) for n in shape):
        shapes = {INPUT: cast(Sequence[int], shape)}
        layouts = {} if layout is None else {INPUT: _one_layout(layout)}
        return Inputs(_checked(shapes, field), _layouts(shapes, layouts, field))
    parameters = _parameters(module)
    names = list(shape) if isinstance(shape, Mapping) else _names(parameters, len(shape))
    sizes: Sequence[Any] = list(shape.values()) if isinstance(shape, Mapping) else list(shape)
    if not sizes:
        raise InvalidInput(field, shape, "at least one input")
    form, defaults, keys = "arguments", dict[int, Any](), tuple(names)
    if set(names) <= set(parameters):
        order = [name for name in parameters if name in names]
        sizes = [sizes[names.index(name)] for name in order]
        names = order
        last = max(list(parameters).index(name) for name in names)
        for place, (name, parameter) in enumerate(list(parameters.items())[:last]):
            if name not in names:
                if parameter.default is inspect.Parameter.empty:
                    raise InvalidInput(
                        field, sorted(keys), f"a shape for the argument {name} of forward, too"
                    )
                defaults[place] = parameter.default
    elif isinstance(shape, Mapping) or not _takes(module, len(names)):
        if len(parameters) != 1:
            allowed = f"the arguments of forward: {', '.join(parameters)}"
            raise InvalidInput(field, names, allowed)
        form = "dict" if isinstance(shape, Mapping) else "tuple"
    if layout is not None and not isinstance(layout, Mapping):
        raise InvalidInput("layout", layout, "a layout for each input, by name")
    if len(names) == 1:
        stated = {} if layout is None else {INPUT: str(layout[names[0]])}
        shapes = {INPUT: sizes[0]}
        return Inputs(_checked(shapes, field), _layouts(shapes, stated, field), form, defaults, keys)
    shapes = dict(zip(names, sizes, strict=True))
    stated = {} if layout is None else dict(layout)
    return Inputs(_checked(shapes, field), _layouts(shapes, stated, field), form, defaults, keys)


def _one_layout(layout: str | Mapping[str, str]) -> str:
    if isinstance(layout, Mapping):
        raise InvalidInput("layout", dict(layout), "the name of one layout: there is one input")
    return layout


def _parameters(module: nn.Module) -> dict[str, inspect.Parameter]:
    """Return the parameters of `forward` that can be passed by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name: parameter
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in kinds
    }


def _takes(module: nn.Module, count: int) -> bool:
    """Whether `forward` can be called with `count` arguments."""
    given = inspect.signature(module.forward)
    try:
        given.bind(*range(count))
    except TypeError:
        return False
    return True


def _names(parameters: Mapping[str, inspect.Parameter], count: int) -> list[str]:
    """Return the names of the first arguments; numbered names when `forward` has not as many."""
    names = list(parameters)[:count]
    return names if len(names) == count else [f"{INPUT}_{number}" for number in range(count)]


def _checked(shapes: Mapping[str, Any], field: str) -> dict[str, Shape]:
    checked = {}
    for name, shape in shapes.items():
        sizes = tuple(shape)
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
            place = field if len(shapes) == 1 else f"{field}.{name}"
            raise InvalidInput(place, sizes, f"positive whole numbers: one of {described()}")
        checked[name] = sizes
    return checked


def _layouts(shapes: Mapping[str, Any], layouts: Mapping[str, str], field: str) -> dict[str, str]:
    unknown = sorted(set(layouts) - set(shapes))
    if unknown:
        raise InvalidInput("layout", unknown, f"names of inputs: {', '.join(shapes)}")
    for name, shape in shapes.items():
        layout_of(layouts.get(name), tuple(shape), "layout" if layouts else field)
    return dict(layouts)


def parts(result: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Return the named parts of a result: of tuples, lists, dicts and dataclasses, one in another; None is left out.

    A name joins the keys on the way: "boxes", "heads_0". Parts of a tuple are numbered, those of a named tuple have names.
    """
    items: Iterator[tuple[Any, Any]]
    if result is None:
        return
    if isinstance(result, Mapping):
        items = iter(result.items())
    elif isinstance(result, tuple | list):
        named = getattr(result, "_fields", range(len(result)))
        items = zip(named, result, strict=True)
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        items = ((each.name, getattr(result, each.name)) for each in dataclasses.fields(result))
    else:
        yield path or "output", result
        return
    for key, part in items:
        before = path or ("output" if isinstance(key, int) else "")
        yield from parts(part, f"{before}_{key}" if before else str(key))
