"""A network family whose networks read features of signals, which a front end makes. Imports no torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.layouts import layout
from sparsemod.networks.family import Family
from sparsemod.networks.front_ends.base import PREFIX, FrontEnd
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Fixed
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn

SIGNALS = ("channels-length", "time-features")
"""The layouts of samples that a front end reads."""


def with_front_end(family: Family, front_end: FrontEnd[Any] | None) -> Family:
    """Return `family`, or with a front end the family of its networks behind that front end.

    The parameters of the front end, `front_window`, `front_hop` and others, come before those of the family. Features are
    channels-length, (features, frames), for a family that reads them; else an image (1, frames, features). Raises InvalidInput for the
    field `network.front_end`.
    """
    if front_end is None:
        return family
    return Family(family.name, _WithFrontEnd(family, front_end), family.options, SIGNALS)


class _WithFrontEnd:
    """The implementation of a family with a front end."""

    def __init__(self, family: Family, front_end: FrontEnd[Any]) -> None:
        self.family, self.front_end = family, front_end
        self.checked = bool(getattr(family.implementation, "checked", False))
        self.task = family.task
        # The generic operators: the front end's parameters change the shapes of layers.
        self.morphism_set = f"{family.morphisms} with a front end"

    def space(self, data: DataInfo) -> Space:
        """Return the parameters of the front end and the family. Raises InvalidInput when both have one."""
        own = self.front_end.parameters()
        first = {p.name: p.value if isinstance(p, Fixed) else p.from_unit(0.0) for p in own}
        inner = self.family.space(self._features(first, data, InvalidInput))
        double = next((name for name in inner.names if name.startswith(PREFIX)), None)
        if double is not None:
            allowed = f"left out, for a family with a parameter {double!r}"
            raise InvalidInput("network.front_end", self._name(), allowed)
        return Space([*own, *inner.parameters], inner.constraints)

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the front end and the family's network. Raises BuildError for windows and bands that do not fit together."""
        from sparsemod.networks.front_end_module import SignalNetwork

        values = {p.name: parameters[p.name] for p in self.front_end.parameters()}
        info = self._features(values, data, BuildError)
        try:
            parts = self.front_end.modules(values)
        except InvalidInput as error:
            raise BuildError(f"front end {self._name()}: {error}") from error
        inner = self.family.build(_Family(parameters), info)
        channels = data.axes.image(data.shape)[0]
        return SignalNetwork(
            parts, inner, channels, hop=int(values["front_hop"]), channels_first=data.axes.channel == 0,
            image=len(info.axes.positions) == 2, uses_lengths=data.sequences,
        )  # fmt: skip

    def _name(self) -> str:
        return str(self.front_end.config.name)

    def _features(
        self, values: Mapping[str, Value], data: DataInfo, error: type[InvalidInput] | type[BuildError]
    ) -> DataInfo:
        """Return the data as the family's networks read them."""
        channels, _, samples = data.axes.image(data.shape)
        frames = samples // int(values["front_hop"])
        if frames < 1:
            allowed = f"at most the {samples} samples of {data.name!r}"
            if error is InvalidInput:
                raise InvalidInput("network.front_end.hop", values["front_hop"], allowed)
            raise BuildError(f"front_hop = {values['front_hop']}: {allowed}")
        features = channels * self.front_end.features(values)
        layouts = self.family.layouts
        image = bool(layouts) and "channels-length" not in layouts
        shape = (1, frames, features) if image else (features, frames)
        name = "channels-height-width" if image else "channels-length"
        layout(name, shape)
        return data.model_copy(update={"shape": shape, "layout": name})


class _Family(Mapping[str, Value]):
    """The parameters of the family; a look-up reaches the mapping itself, which may record it."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Value:
        if name.startswith(PREFIX):
            raise KeyError(name)
        return self._values[name]

    def __iter__(self) -> Any:
        return (name for name in self._values if not name.startswith(PREFIX))

    def __len__(self) -> int:
        return sum(not name.startswith(PREFIX) for name in self._values)
