"""Network families by name, and what a user's own family must be.

A family is a class with `space(data)` and `build(parameters, data)`, its options being the arguments of its constructor, or just a function
`build(parameters, data, *, options...)` whose space is given to the decorator:

    @family("tiny", space=[Integer("width", 4, 32)])
    def tiny(parameters, data):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, parameters["width"]), nn.ReLU(), nn.Linear(parameters["width"], data.classes))
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sparsemod.errors import BuildError, InvalidInput, SparsemodError
from sparsemod.records import DataInfo, Value
from sparsemod.registry import Registry, summarize_error
from sparsemod.space.parameters import Categorical, Fixed, Integer, Parameter, Real
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn

SpaceLike = Space | Iterable[Parameter] | Mapping[str, Any]
"""A Space, its parameters, or name -> parameter, list of values, or constant."""

T = TypeVar("T", bound=Callable[..., Any])


class Family:
    """A family with its options chosen: the space of its networks, and the networks.

    `name` is the registered one. What the family's own code returns or raises is checked and translated here.
    """

    def __init__(self, name: str, implementation: Any, options: Mapping[str, Value]) -> None:
        self.name = name
        self.implementation = implementation
        self.options = dict(options)

    def __repr__(self) -> str:
        return f"Family({self.name!r}, {self.options})"

    def space(self, data: DataInfo) -> Space:
        """The parameters of the architecture, for data of this shape. Raises InvalidInput for data the family cannot read."""
        try:
            given = self.implementation.space(data)
        except SparsemodError:
            raise
        except Exception as error:  # the family's own code
            allowed = f"a family that makes a space for {data.name} {data.shape}; it raised {summarize_error(error)}"
            raise InvalidInput("network.family", self.name, allowed) from error
        if isinstance(given, Space):
            return given.check_reachable()
        try:
            parameters = _parameters(given)
        except TypeError:
            raise InvalidInput(
                f"space of family {self.name!r}", given, "a Space, a list of parameters, or a mapping of them"
            ) from None
        return Space(parameters).check_reachable()

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """A new network with fresh weights from torch's global generator (seed it inside `torch.random.fork_rng`).

        Input float32 (N, *data.shape), output logits (N, data.classes). Raises BuildError when it cannot be built, InvalidInput for data the
        family cannot read.
        """
        import torch
        from torch import nn

        try:
            module = self.implementation.build(parameters, data)
        except SparsemodError:
            raise
        except (
            Exception
        ) as error:  # the family's own code: whatever it raises, these parameters give no network
            raise BuildError(f"family {self.name!r} raised {summarize_error(error)}") from error
        if not isinstance(module, nn.Module):
            raise BuildError(f"family {self.name!r} built a {type(module).__name__}, not a torch.nn.Module")
        if getattr(self.implementation, "checked", False):
            return module
        was_training = module.training
        try:
            with torch.no_grad():
                output = module.eval()(torch.zeros(2, *data.shape))
        except Exception as error:  # as above
            raise BuildError(
                f"family {self.name!r}: the network does not run on {data.name} {data.shape}: {type(error).__name__}: {error}"
            ) from error
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if shape != (2, data.classes):
            raise BuildError(
                f"family {self.name!r}: for 2 samples the network returns {shape}, expected logits (2, {data.classes})"
            )
        return module.train(was_training)


class FamilyFactory:
    """What the registry holds: called with a family's options it gives a Family. `origin` is the decorated class or function."""

    def __init__(
        self, name: str, origin: Callable[..., Any], space: SpaceLike | Callable[..., Any] | None
    ) -> None:
        # A generator would be used up by the first network.
        self._space = list(space) if isinstance(space, Iterator) else space
        self.name, self.origin = name, origin
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

    def __call__(self, **options: Value) -> Family:
        """The family with these options. Raises InvalidInput that names an option (`network.options...`)."""
        known = self.__signature__.parameters
        for name, value in options.items():
            if name not in known and not self._open:
                raise InvalidInput(
                    f"network.options.{name}",
                    value,
                    f"an option of {self.name!r}: {', '.join(known) or 'it has none'}",
                )
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in options:
                raise InvalidInput(f"network.options.{name}", None, f"is needed by family {self.name!r}")
        try:
            if inspect.isclass(self.origin):
                return Family(self.name, self.origin(**options), options)
        except InvalidInput as error:
            raise error.at("network.options") from None
        except Exception as error:  # the family's own code
            allowed = (
                f"options that family {self.name!r} can be made with; it raised {summarize_error(error)}"
            )
            raise InvalidInput("network.options", options, allowed) from error
        return Family(self.name, _FromFunction(self.origin, self._space, options), options)


class _FromFunction:
    """A family made of a builder and a space, which may be a function of the data."""

    def __init__(self, build: Callable[..., Any], space: Any, options: Mapping[str, Value]) -> None:
        self._build, self._space, self._options = build, space, options

    def space(self, data: DataInfo) -> Any:
        return self._space(data) if callable(self._space) else self._space

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> Any:
        return self._build(parameters, data, **self._options)


FAMILIES: Registry[FamilyFactory] = Registry(
    "network family", "sparsemod.families", builtin=("sparsemod.networks.cnn", "sparsemod.networks.mlp")
)


def family(name: str, space: SpaceLike | Callable[[DataInfo], Any] | None = None) -> Callable[[T], T]:
    """Decorator that registers a class with `space` and `build`, or a builder function with its `space` (or a function data -> space).

    The class or function itself is returned unchanged. Raises DuplicateName; InvalidInput when there is no space or no builder.
    """

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
        FAMILIES.add(name, FamilyFactory(name, origin, space))
        return origin

    return register


def create_family(name: str, options: Mapping[str, Value] | None = None, *, imports: bool = False) -> Family:
    """The family called `name` with `options`, as in a spec's `network`. With `imports`, `name` may be `module:attribute`.

    Raises UnknownName for the field `network.family`, InvalidInput for `network.options...`.
    """
    factory: Any = FAMILIES.get(name, imports=imports, field="network.family")
    if not isinstance(factory, FamilyFactory):  # `module:attribute` may name a class without the decorator
        if not all(callable(getattr(factory, method, None)) for method in ("space", "build")):
            raise InvalidInput(
                "network.family", name, "a class with `space` and `build`, or a decorated function"
            )
        factory = FamilyFactory(name, factory, None)
    made: Family = factory(**(options or {}))
    return made


def _parameters(given: Any) -> list[Parameter]:
    if not isinstance(given, Mapping):
        found = list(given)
        if not all(isinstance(p, Integer | Real | Categorical | Fixed) for p in found):
            raise TypeError
        return found
    result: list[Parameter] = []
    for name, value in given.items():
        if isinstance(value, Integer | Real | Categorical | Fixed):
            result.append(value.model_copy(update={"name": name}))
        elif isinstance(value, list | tuple):
            result.append(Categorical(name=name, values=tuple(value)))
        elif isinstance(value, int | float | str):
            result.append(Fixed(name=name, value=value))
        else:
            raise TypeError
    return result
