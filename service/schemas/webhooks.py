"""HTTP schemas of webhooks."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from service.schemas.trials import Request, View


class WebhookEvent(StrEnum):
    """The changes that a webhook can report."""

    TRIAL_COMPLETED = "trial.completed"
    TRIAL_FAILED = "trial.failed"
    EXPERIMENT_FINISHED = "experiment.finished"
    EXPERIMENT_FAILED = "experiment.failed"
    FRONT_CHANGED = "front.changed"


PING = "ping"
"""Event of a delivery that the user requested as a test."""


class DeliveryState(StrEnum):
    """The states of a delivery."""

    WAITING = "waiting"  # for its first attempt or the next one
    DELIVERED = "delivered"  # the receiver answered with 2xx
    FAILED = "failed"  # given up


class CreateWebhook(Request):
    """A receiver. `everything` includes the experiments of other owners and needs the scope admin."""

    url: Annotated[
        str,
        Field(
            max_length=2000,
            examples=["https://ci.example/sparsemod"],
            # The endpoint checks it, and says more about a mistake than a pattern.
            json_schema_extra={"minLength": 8, "pattern": "^https?://[\\x21-\\x7e]+$"},
        ),
    ]
    events: Annotated[tuple[WebhookEvent, ...], Field(min_length=1, max_length=20)] = tuple(WebhookEvent)
    experiment: Annotated[
        int | None, Field(ge=1, lt=10**15, description="Only this experiment; null: all of yours.")
    ] = None
    everything: bool = False


class WebhookView(View):
    """A receiver, without its secret."""

    id: int
    owner: str | None
    url: str
    events: tuple[WebhookEvent, ...]
    experiment: int | None
    everything: bool
    managed: bool = Field(description="Whether it comes from the settings of the server.")
    created_at: datetime
    disabled: str | None = Field(description="Why nothing is sent any more; `enable` sends again.")
    waiting: int = Field(description="Deliveries that wait.")
    retry_at: datetime | None = Field(None, description="The next attempt, after a failure.")


class NewWebhook(WebhookView):
    """A new receiver with its secret, which is shown only once."""

    secret: str = Field(description="Key of the signatures.")


class Delivery(View):
    """One delivery."""

    id: int
    event: str
    experiment: int | None
    body: dict[str, Any]
    state: DeliveryState
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    status: int | None = Field(description="HTTP status of the last answer.")
    failure: str | None = Field(description="Why the last attempt failed.")
