"""The client's methods for uploaded models."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from service.schemas.models import ModelView
from service.schemas.trials import ExperimentView

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_MODELS = TypeAdapter(tuple[ModelView, ...])


class ModelCalls:
    """Model methods; the client supplies `_ask` and `_list`."""

    def _ask(self, model: type[M], method: str, path: str, **options: Any) -> M:
        raise NotImplementedError

    def _list(
        self, adapter: "TypeAdapter[tuple[T, ...]]", path: str, method: str = "GET", **sent: Any
    ) -> list[T]:
        raise NotImplementedError

    def upload_model(self, name: str, content: bytes, device: str = "stm32f446") -> ModelView:
        """Upload a model file; `model` shows when it is measured."""
        headers = {"content-type": "application/octet-stream"}
        query = {"name": name, "device": device}
        return self._ask(ModelView, "POST", "/models", content=content, query=query, headers=headers)

    def models(self) -> list[ModelView]:
        """Return the newest 1000 uploaded models."""
        return self._list(_MODELS, "/models?limit=1000")

    def model(self, number: int) -> ModelView:
        """Return a model, with its report once it is measured."""
        return self._ask(ModelView, "GET", f"/models/{number}")

    def start_from_model(self, number: int, body: Mapping[str, Any]) -> ExperimentView:
        """Create an experiment that starts from a model; `body` has the keys of `StartFromModel`."""
        return self._ask(ExperimentView, "POST", f"/models/{number}/experiments", body=dict(body), keyed=True)
