"""The audit trail as the API returns it."""

from datetime import datetime

from pydantic import Field

from service.schemas.trials import View


class AuditEntry(View):
    """One change."""

    id: int
    time: datetime
    owner: str | None = Field(description="Owner of the token; null on a server without logins.")
    token: int | None = Field(description="Number of the token; null on a server without logins.")
    action: str = Field(description="Method and path pattern of the request, or the command on the database.")
    target: str = Field(description="Path of what changed.")
    experiment: int | None
    request: str | None = Field(description="The request's id, as in the log and in the header X-Request-ID.")
