"""The client's methods for those who operate a server: workers, audit trail, health, retention, quotas,
webhooks."""

from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, TypeAdapter

from service.schemas.audit import AuditEntry
from service.schemas.quotas import QuotaView
from service.schemas.trials import Health
from service.schemas.webhooks import Delivery, NewWebhook, WebhookView
from service.schemas.workers import WorkerView

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
_AUDIT = TypeAdapter(tuple[AuditEntry, ...])
_WEBHOOKS = TypeAdapter(tuple[WebhookView, ...])
_DELIVERIES = TypeAdapter(tuple[Delivery, ...])
_WORKERS = TypeAdapter(tuple[WorkerView, ...])


class OperatorCalls:
    """Methods for operators; the client supplies the private ones."""

    def _list(
        self, adapter: "TypeAdapter[tuple[T, ...]]", path: str, method: str = "GET", **sent: Any
    ) -> list[T]:
        raise NotImplementedError

    def _ask(self, model: type[M], method: str, path: str, **options: Any) -> M:
        raise NotImplementedError

    def _send(self, method: str, path: str, *, body: Any = None) -> httpx2.Response:
        raise NotImplementedError

    def _once(self, method: str, path: str) -> httpx2.Response:
        raise NotImplementedError

    def _parse(self, model: type[M], response: httpx2.Response) -> M:
        raise NotImplementedError

    def workers(self) -> list[WorkerView]:
        """Return the workers that contacted the server recently."""
        return self._list(_WORKERS, "/workers")

    def audit(self, experiment: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return the newest changes: of one experiment or of everything. Raises Forbidden."""
        return self._list(_AUDIT, "/audit", query={"experiment": experiment, "limit": limit})

    def drain(self, worker: str, drain: bool = True) -> None:
        """Hand out no more trials to a worker; `drain=False` undoes this. Raises NotFound."""
        self._send("POST", f"/workers/{quote(worker, safe='')}/drain", body={"drain": drain})

    def health(self) -> Health:
        """Return the server's health; send one request only. Raises ServerUnavailable when the server is not ready."""
        return self._parse(Health, self._once("GET", "/health"))

    def quota(self, owner: str | None = None) -> QuotaView:
        """Return what the caller, or `owner`, uses of each quota. Raises Forbidden."""
        return self._ask(QuotaView, "GET", "/quota", query={"owner": owner})

    def keep(self, experiment: int, keep: bool = True, trials: Iterable[int] | None = None) -> None:
        """Protect an experiment, or some trials of it, from retention; `keep=False` undoes this. Raises NotFound."""
        body = {"keep": keep, "trials": None if trials is None else list(trials)}
        self._send("POST", f"/experiments/{experiment}/keep", body=body)

    def add_webhook(
        self,
        url: str,
        events: Iterable[str] | None = None,
        experiment: int | None = None,
        everything: bool = False,
    ) -> NewWebhook:
        """Register a receiver; the answer has its secret. Raises InvalidInput, Forbidden, NotFound, Conflict."""
        body: dict[str, Any] = {"url": url, "experiment": experiment, "everything": everything}
        if events is not None:
            body["events"] = list(events)
        return self._ask(NewWebhook, "POST", "/webhooks", body=body)

    def webhooks(self) -> list[WebhookView]:
        """Return the caller's webhooks; for an admin, all."""
        return self._list(_WEBHOOKS, "/webhooks")

    def deliveries(self, webhook: int, limit: int = 100) -> list[Delivery]:
        """Return the newest deliveries of a webhook. Raises NotFound."""
        return self._list(_DELIVERIES, f"/webhooks/{webhook}/deliveries", query={"limit": limit})

    def ping_webhook(self, webhook: int) -> Delivery:
        """Queue a test delivery. Raises NotFound."""
        return self._ask(Delivery, "POST", f"/webhooks/{webhook}/ping")

    def enable_webhook(self, webhook: int) -> WebhookView:
        """Send again to a receiver that was disabled. Raises NotFound."""
        return self._ask(WebhookView, "POST", f"/webhooks/{webhook}/enable")

    def delete_webhook(self, webhook: int) -> None:
        """Delete a webhook. Raises NotFound."""
        self._send("DELETE", f"/webhooks/{webhook}")
