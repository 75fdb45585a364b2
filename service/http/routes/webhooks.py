"""Webhooks: register receivers, list them, look at their deliveries."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.errors import Forbidden
from service.files.webhook_request import check_url
from service.http.routes.common import Limit, LoginDep, StoreDep, failures
from service.jobs.webhooks import WebhookJobs
from service.schemas.logins import Login, Scope
from service.schemas.webhooks import CreateWebhook, Delivery, NewWebhook, WebhookView
from service.store.webhooks import Everyone

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

WebhookId = Annotated[int, Path(ge=1, lt=10**15, description="Number of the webhook.", examples=[1])]


def _is_admin(login: Login | None) -> bool:
    return login is None or Scope.ADMIN in login.scopes


@router.post("", status_code=201, summary="Register a webhook", responses=failures(400, 404, 409, 413))
def create_webhook(request: Request, store: StoreDep, login: LoginDep, body: CreateWebhook) -> NewWebhook:
    """Sends a signed request to `url` for each of these changes from now on. The secret is shown only in this answer.

    Without `experiment`, it reports on the experiments of your owner, future ones included. Addresses of the server's own
    machine and of private networks are refused unless the server's settings allow them.
    """
    check_url(body.url, private=request.app.state.settings.webhook_private_addresses)
    owner = None if login is None else login.owner
    if body.everything and not _is_admin(login):
        raise Forbidden("a webhook for everything needs the scope admin")
    if body.experiment is not None and not _is_admin(login):
        of = store.owner_of(body.experiment)
        if of not in (None, owner):
            raise Forbidden(f"experiment {body.experiment} belongs to {of}")
    return store.add_webhook(
        body.url, body.events, owner=owner, experiment=body.experiment, everything=body.everything
    )


@router.get("", summary="List webhooks", responses=failures())
def list_webhooks(store: StoreDep, login: LoginDep) -> list[WebhookView]:
    """Lists your webhooks; with the scope admin, those of all owners."""
    return store.webhooks(Everyone if login is None or _is_admin(login) else login.owner)


@router.get("/{webhook:number}/deliveries", summary="Show a webhook's deliveries", responses=failures(404))
def list_deliveries(
    store: StoreDep,
    webhook: WebhookId,
    before: Annotated[
        int | None,
        Query(ge=1, lt=10**15, description="Only deliveries with a smaller id, for the next page."),
    ] = None,
    limit: Limit = 100,
) -> list[Delivery]:
    """Lists deliveries, newest first. Those that ended more than 30 days ago are forgotten."""
    return store.deliveries(webhook, limit, before)


@router.post("/{webhook:number}/ping", status_code=202, summary="Test a webhook", responses=failures(404))
def ping_webhook(request: Request, store: StoreDep, webhook: WebhookId) -> Delivery:
    """Queues a delivery with the event `ping`. The list of deliveries shows how it ended."""
    made = store.ping_webhook(webhook)
    jobs: WebhookJobs = request.app.state.webhooks
    jobs.wake()
    return made


@router.post("/{webhook:number}/enable", summary="Enable a webhook", responses=failures(404))
def enable_webhook(request: Request, store: StoreDep, webhook: WebhookId) -> WebhookView:
    """Sends again to a receiver that was disabled after too many failures, or tries again at once. Events since then
    are sent too."""
    view = store.enable_webhook(webhook)
    jobs: WebhookJobs = request.app.state.webhooks
    jobs.wake()
    return view


@router.delete(
    "/{webhook:number}",
    status_code=204,
    summary="Delete a webhook",
    response_class=Response,
    responses=failures(404),
)
def delete_webhook(store: StoreDep, webhook: WebhookId) -> Response:
    """Deletes a webhook with its deliveries. What still waits is not sent."""
    store.delete_webhook(webhook)
    return Response(status_code=204)
