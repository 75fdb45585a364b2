"""The client's methods for exports."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter

from service.schemas.exports import ExportView

T = TypeVar("T")
_EXPORTS = TypeAdapter(tuple[ExportView, ...])


class ExportCalls:
    """Export methods; the client supplies `_list`."""

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
        """Start to export a trial's network as a model called `name`; `exports` shows the progress."""
        body = _export_request(formats, device, name)
        return self._exported("POST", f"/experiments/{experiment}/trials/{index}/exports", body)

    def export_front(
        self, experiment: int, formats: Sequence[str], device: str | None = None, name: str | None = None
    ) -> list[ExportView]:
        """Export every point of the Pareto front; the trial's number is appended to `name`."""
        return self._exported("POST", f"/pareto/{experiment}/exports", _export_request(formats, device, name))

    def exports(self, experiment: int, index: int | None = None) -> list[ExportView]:
        """Return the exports of one trial or of all trials, finished and pending."""
        if index is not None:
            return self._exported("GET", f"/experiments/{experiment}/trials/{index}/exports", None)
        views: list[ExportView] = []
        while True:
            after = views[-1].trial if views else -1
            page = self._exported("GET", f"/experiments/{experiment}/exports?after={after}&limit=1000", None)
            if not page:
                return views
            views += page

    def _exported(self, method: str, path: str, body: Mapping[str, Any] | None) -> list[ExportView]:
        return self._list(_EXPORTS, path, method, body=body)


def _export_request(formats: Sequence[str], device: str | None, name: str | None) -> dict[str, Any]:
    optional = {"device": device, "name": name}
    return {"formats": list(formats), **{key: value for key, value in optional.items() if value is not None}}
