"""The base of front ends, and keys and parameters that several of them share."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from sparsemod.errors import InvalidInput
from sparsemod.plugins import Plugin, Plugins
from sparsemod.records import Value
from sparsemod.signals import tables
from sparsemod.space.parameters import Categorical, Fixed, Parameter
from sparsemod.spec import methods
from sparsemod.spec.methods import FrontEndConfig

if TYPE_CHECKING:
    from torch import nn

C = TypeVar("C", bound=FrontEndConfig)
PREFIX = "front_"
"""The parameters of a front end begin with it."""


def _listed(value: Any) -> Any:
    """Return one number or a list as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_LISTED = BeforeValidator(_listed)
Windows = Annotated[tuple[Annotated[int, Field(ge=2, le=tables.LARGEST_FFT)], ...], _LISTED]
Hops = Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], _LISTED]
Bands = Annotated[tuple[Annotated[int, Field(ge=1, le=128)], ...], _LISTED]
Rate = Annotated[float, Field(gt=0, le=1e6)]


class FrontEnd(Plugin[C]):
    """Makes features (N, features, frames) of signals (N, channels, samples); see `sparsemod.signals`."""

    def parameters(self) -> list[Parameter]:
        """Return the searched parameters. Their names begin with `PREFIX`; all front ends have `front_hop`."""
        raise NotImplementedError

    def features(self, values: Mapping[str, Value]) -> int:
        """Return the features of a frame of one channel."""
        raise NotImplementedError

    def modules(self, values: Mapping[str, Value]) -> "list[nn.Module]":
        """Return the modules whose features, one after another, are those of a frame. Raises InvalidInput."""
        raise NotImplementedError


FRONT_ENDS: Plugins[FrontEnd[Any], FrontEndConfig] = methods.FRONT_ENDS


def choice(name: str, values: Sequence[int]) -> Parameter:
    """Return the parameter that chooses one of `values`, in their order of size. Raises InvalidInput for none or equal ones."""
    if not values or len(set(values)) != len(values):
        raise InvalidInput(f"network.front_end.{name}", list(values), "different numbers, at least one")
    if len(values) == 1:
        return Fixed(name=PREFIX + name, value=values[0])
    return Categorical(name=PREFIX + name, values=tuple(sorted(values)), ordered=True)
