"""The client's part about exports."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter

from service.schemas.exports import ExportView

T = TypeVar("T")
_EXPORTS = TypeAdapter(tuple[ExportView, ...])


class ExportCalls:
    """Exports, for a client that sends."""

    def _list(
        self, adapter: "TypeAdapter[tuple[T, ...]]", path: str, method: str = "GET", **sent: Any
    ) -> list[T]:
        raise NotImplementedError

    def export(
        self,
        experiment: int,
        index: int,
        formats: Sequence[str],
        device: str | None = None,
        name: str | None = None,
    ) -> list[ExportView]:
        """Begin to export a trial's network as a model called `name`; `exports` tells when it is done."""
        wish = _wish(formats, device, name)
        return self._exported("POST", f"/experiments/{experiment}/trials/{index}/exports", wish)

    def export_front(
        self, experiment: int, formats: Sequence[str], device: str | None = None, name: str | None = None
    ) -> list[ExportView]:
        """The same for every point of the Pareto front; the trial's number is added to `name`."""
        return self._exported("POST", f"/pareto/{experiment}/exports", _wish(formats, device, name))

    def exports(self, experiment: int, index: int | None = None) -> list[ExportView]:
        """Exports of one trial, or of all: those that are done, and those on their way."""
        if index is not None:
            return self._exported("GET", f"/experiments/{experiment}/trials/{index}/exports", None)
        found: list[ExportView] = []
        while True:
            after = found[-1].trial if found else -1
            page = self._exported("GET", f"/experiments/{experiment}/exports?after={after}&limit=1000", None)
            if not page:
                return found
            found += page

    def _exported(self, method: str, path: str, body: Mapping[str, Any] | None) -> list[ExportView]:
        return self._list(_EXPORTS, path, method, body=body)


def _wish(formats: Sequence[str], device: str | None, name: str | None) -> dict[str, Any]:
    given = {"device": device, "name": name}
    return {"formats": list(formats), **{key: value for key, value in given.items() if value is not None}}
