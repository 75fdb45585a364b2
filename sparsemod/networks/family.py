"""The registry of network families, and the interface of a user's family.

A family is a class with `space(data)` and `build(parameters, data)`; its constructor's arguments are the
options. Or it is a function `build(parameters, data, *, options...)`, and the decorator takes its space:

    @family("tiny", space=[Integer("width", 4, 32)])
    def tiny(parameters, data):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, parameters["width"]), nn.ReLU(), nn.Linear(parameters["width"], data.classes))
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sparsemod.errors import BuildError, InvalidInput, SparsemodError, UnknownName
from sparsemod.layouts import LAYOUTS
from sparsemod.networks.own_module import is_module_class, own_module_family
from sparsemod.records import DataInfo, Value
from sparsemod.registry import Registry, summarize_error
from sparsemod.space.from_ax import from_ax, is_ax
from sparsemod.space.parameters import Categorical, Fixed, Integer, Parameter, Real
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn

SpaceLike = Space | Iterable[Parameter] | Mapping[str, Any]
"""A Space, its parameters, or a mapping: name -> parameter, list of values, or constant."""

T = TypeVar("T", bound=Callable[..., Any])


class Family:
    """A family with chosen options: it provides the search space and builds the networks.

    `name` is the registered name. This class checks the results of the family's code and translates its
    exceptions.
    """

    def __init__(
        self, name: str, implementation: Any, options: Mapping[str, Value], layouts: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.implementation = implementation
        self.options = dict(options)
        self.layouts = layouts

    def __repr__(self) -> str:
        return f"Family({self.name!r}, {self.options})"

    @property
    def morphisms(self) -> str:
        """The name of the family's operators and inheritance in a search; generic ones have no such name."""
        return str(getattr(self.implementation, "morphism_set", self.name))

    @property
    def task(self) -> str:
        """The name of the task that the family's networks are for."""
        return str(getattr(self.implementation, "task", "classification"))

    def space(self, data: DataInfo) -> Space:
        """Return the space of the architecture's parameters for these data.

        Raises InvalidInput for data that the family cannot use.
        """
        self._check_layout(data)
        try:
            space = self.implementation.space(data)
        except SparsemodError:
            raise
        except Exception as error:  # from the family's code
            allowed = f"a family that makes a space for {data.name} {data.shape}; it raised {summarize_error(error)}"
            raise InvalidInput("network.family", self.name, allowed) from error
        if isinstance(space, Space):
            return space.check_reachable()
        if _of_ax(space):
            return from_ax(space).check_reachable()
        try:
            parameters = _parameters(space)
        except TypeError:
            raise InvalidInput(
                f"space of family {self.name!r}",
                space,
                "a Space, a list of parameters, a mapping of them, or an Ax space",
            ) from None
        return Space(parameters).check_reachable()

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build a network with random weights.

        They come from torch's global generator: seed it inside `torch.random.fork_rng`.

        Input float32 (N, *data.shape), output (N, *data.outputs), for classes their logits (N, data.classes). Raises BuildError when the network
        cannot be built, InvalidInput for data that the family cannot use.
        """
        import torch
        from torch import nn

        self._check_layout(data)
        try:
            module = self.implementation.build(parameters, data)
        except SparsemodError:
            raise
        except Exception as error:  # from the family's code
            raise BuildError(f"family {self.name!r} raised {summarize_error(error)}") from error
        if not isinstance(module, nn.Module):
            raise BuildError(f"family {self.name!r} built a {type(module).__name__}, not a torch.nn.Module")
        if getattr(self.implementation, "checked", False):
            return module
        was_training = module.training
        try:
            with torch.no_grad():
                output = module.eval()(torch.zeros(2, *data.shape))
        except Exception as error:  # from the family's code
            raise BuildError(
                f"family {self.name!r}: the network does not run on {data.name} {data.shape}: {type(error).__name__}: {error}"
            ) from error
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if shape != (2, *data.outputs):
            raise BuildError(
                f"family {self.name!r}: for 2 samples the network returns {shape}, expected {(2, *data.outputs)}"
            )
        return module.train(was_training)

    def _check_layout(self, data: DataInfo) -> None:
        known = getattr(self.implementation, "checked", False)
        if known and len(data.outputs) > 1 and not getattr(self.implementation, "maps", False):
            allowed = "a family whose networks have an output for each position, such as fcn"
            raise InvalidInput("network.family", self.name, allowed)
        if self.layouts and data.layout not in self.layouts:
            wanted = " or ".join(f"{name} {LAYOUTS[name].title}" for name in self.layouts)
            raise InvalidInput(
                "network.family",
                self.name,
                f"needs samples of layout {wanted}; samples of {data.name!r} have shape {data.shape}, layout {data.layout}",
            )


class FamilyFactory:
    """The registered object: a call with a family's options returns a Family.

    `origin` is the decorated class or function.
    """

    def __init__(
        self,
        name: str,
        origin: Callable[..., Any],
        space: SpaceLike | Callable[..., Any] | None,
        layouts: tuple[str, ...] = (),
    ) -> None:
        # The first network would exhaust a generator.
        self._space = list(space) if isinstance(space, Iterator) else space
        self.name, self.origin, self.layouts = name, origin, layouts
        self.__doc__ = origin.__doc__
        try:
            parameters = list(inspect.signature(origin).parameters.values())
        except ValueError:
            parameters = []
        if not inspect.isclass(origin):
            parameters = parameters[2:]
        self.__signature__ = inspect.Signature(
            [
                p.replace(kind=p.KEYWORD_ONLY)
                for p in parameters
                if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            ]
        )
        self._open = any(p.kind == p.VAR_KEYWORD for p in parameters)

    @property
    def task(self) -> str:
        """The name of the task that the family's networks are for: `classification` where the class names none."""
        return str(getattr(self.origin, "task", "classification"))

    def __call__(self, **options: Value) -> Family:
        """Return the family with these options.

        Raises InvalidInput, which names an option (`network.options...`).
        """
        parameters = self.__signature__.parameters
        for name, value in options.items():
            if name not in parameters and not self._open:
                raise InvalidInput(
                    f"network.options.{name}",
                    value,
                    f"an option of {self.name!r}: {', '.join(parameters) or 'it has none'}",
                )
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and name not in options:
                raise InvalidInput(f"network.options.{name}", None, f"is needed by family {self.name!r}")
        try:
            if inspect.isclass(self.origin):
                return Family(self.name, self.origin(**options), options, self.layouts)
        except InvalidInput as error:
            raise error.at("network.options") from None
        except Exception as error:  # from the family's code
            allowed = f"options that family {self.name!r} accepts; it raised {summarize_error(error)}"
            raise InvalidInput("network.options", options, allowed) from error
        return Family(self.name, _FromFunction(self.origin, self._space, options), options, self.layouts)


class _FromFunction:
    """A family from a builder function and a space, which may be a function of the data."""

    def __init__(self, build: Callable[..., Any], space: Any, options: Mapping[str, Value]) -> None:
        self._build, self._space, self._options = build, space, options

    def space(self, data: DataInfo) -> Any:
        return self._space(data) if callable(self._space) else self._space

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> Any:
        return self._build(parameters, data, **self._options)


FAMILIES: Registry[FamilyFactory] = Registry(
    "network family",
    "sparsemod.families",
    builtin=("sparsemod.networks @family", "sparsemod.importing @family"),
)


def family(
    name: str,
    space: SpaceLike | Callable[[DataInfo], Any] | None = None,
    *,
    layouts: Iterable[str] = (),
) -> Callable[[T], T]:
    """Decorator that registers a class with `space` and `build`, or a builder function with its `space`.

    The space may be a function of the data. `layouts`: the layouts of samples that the family reads (see
    `sparsemod.layouts`); empty for any. Data of another layout raise InvalidInput for the field
    `network.family`, and the page does not offer the family for them.

    Returns the class or function unchanged. Raises DuplicateName; UnknownName for a layout; InvalidInput when
    the space or the builder is missing.
    """
    read = tuple(layouts)
    for layout in read:
        if layout not in LAYOUTS:
            raise UnknownName(f"layouts of family {name!r}", layout, LAYOUTS)

    def register(origin: T) -> T:
        if inspect.isclass(origin):
            missing = [method for method in ("space", "build") if not callable(getattr(origin, method, None))]
            if missing:
                raise InvalidInput(
                    f"family {name!r}", origin.__name__, f"a class with a method {missing[0]!r}"
                )
        elif space is None:
            raise InvalidInput(
                f"family {name!r}", None, "a function needs its space: @family(name, space=[...])"
            )
        FAMILIES.add(name, FamilyFactory(name, origin, space, read))
        return origin

    return register


def create_family(name: str, options: Mapping[str, Value] | None = None, *, imports: bool = False) -> Family:
    """Create the family `name` with `options`, as in a spec's `network`.

    With `imports`, `name` may be `module:attribute`.

    Raises UnknownName for the field `network.family`, InvalidInput for `network.options...`.
    """
    factory: Any = FAMILIES.get(name, imports=imports, field="network.family")
    if not isinstance(factory, FamilyFactory):  # `module:attribute` may name an undecorated class
        if not all(callable(getattr(factory, method, None)) for method in ("space", "build")):
            if not is_module_class(factory):
                raise InvalidInput(
                    "network.family",
                    name,
                    "a class with `space` and `build`, a decorated function, or a torch module class Net(parametrization, classes, input_shape)",
                )
            factory = own_module_family(factory, name.partition(":")[0])
        factory = FamilyFactory(name, factory, None)
    created: Family = factory(**(options or {}))
    return created


def _of_ax(space: Any) -> bool:
    """Return whether a space is one of Ax, or a list or mapping of Ax parameters."""
    if is_ax(space):
        return True
    items = (
        list(space.values())
        if isinstance(space, Mapping)
        else space
        if isinstance(space, list | tuple)
        else ()
    )
    return any(is_ax(item) for item in items)


def _parameters(space: Any) -> list[Parameter]:
    if not isinstance(space, Mapping):
        parameters = list(space)
        if not all(isinstance(p, Integer | Real | Categorical | Fixed) for p in parameters):
            raise TypeError
        return parameters
    result: list[Parameter] = []
    for name, value in space.items():
        if isinstance(value, Integer | Real | Categorical | Fixed):
            result.append(value.model_copy(update={"name": name}))
        elif isinstance(value, list | tuple):
            result.append(Categorical(name=name, values=tuple(value)))
        elif isinstance(value, int | float | str):
            result.append(Fixed(name=name, value=value))
        else:
            raise TypeError
    return result
