"""A family that records which parameters its `build` reads."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

from sparsemod.networks.family import Family
from sparsemod.records import DataInfo, Value

if TYPE_CHECKING:
    from torch import nn


class WatchedFamily(Family):
    """`family` plus the names of the parameters `passed` to `build` and `read` by its code, over all networks."""

    def __init__(self, family: Family) -> None:
        super().__init__(family.name, family.implementation, family.options)
        self.passed: set[str] = set()
        self.read: set[str] = set()

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """See Family."""
        self.passed.update(parameters)
        return super().build(_Watched(parameters, self.read), data)


class _Watched(dict[str, Value]):
    """A dict that adds each looked-up name to `read`. An access to all values adds all names."""

    def __init__(self, values: Mapping[str, Value], read: set[str]) -> None:
        super().__init__(values)
        self._read = read

    def _all(self) -> dict[str, Value]:
        self._read.update(super().keys())
        return dict(super().items())

    def __getitem__(self, name: str) -> Value:
        self._read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._read.add(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        self._read.add(name)
        return super().pop(name, *default)

    def __iter__(self) -> Iterator[str]:
        # This override makes Python copy the dict (`dict(p)`, `f(**p)`) through `__getitem__`.
        return super().__iter__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        return super().keys()

    def items(self) -> ItemsView[str, Value]:  # type: ignore[override]
        return self._all().items()

    def values(self) -> ValuesView[Value]:  # type: ignore[override]
        return self._all().values()

    def copy(self) -> dict[str, Value]:
        return self._all()

    def popitem(self) -> tuple[str, Value]:
        self._read.update(super().keys())
        return super().popitem()

    def __or__(self, other: Any) -> Any:
        return self._all() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._all()

    def __eq__(self, other: object) -> bool:
        return self._all() == other

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self._all())

    def __reduce__(self) -> Any:
        return dict, (self._all(),)
