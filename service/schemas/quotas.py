"""Quotas as the API returns them."""

from typing import Literal

from pydantic import Field

from service.schemas.trials import View

QuotaName = Literal["disk", "uploads", "experiments", "streams"]


class QuotaUse(View):
    """One quota of an owner."""

    quota: QuotaName
    used: int
    limit: int | None = Field(description="Null: no limit.")
    unit: str = Field(description="B for bytes, else what is counted.")


class QuotaView(View):
    """The quotas of an owner."""

    owner: str | None = Field(
        description="Owner of the token; null on a server without logins and for what was created before them."
    )
    quotas: tuple[QuotaUse, ...]
