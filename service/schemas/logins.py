"""HTTP schemas of logins and tokens."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from service.schemas.trials import Request, View


class Scope(StrEnum):
    """The rights of a token."""

    READ = "read"  # read everything
    WRITE = "write"  # create experiments and change the owner's; includes read
    WORKER = "worker"  # claim trials and report results
    ADMIN = "admin"  # everything, including other owners' experiments


class Login(View):
    """The owner of a request, and the token."""

    token: int
    owner: str
    scopes: tuple[Scope, ...]
    expires_at: datetime | None = None


class LoginRequest(Request):
    """A token, as `sparsemod token create` printed it."""

    token: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class Me(View):
    """`open`: the server has no logins and allows everything.
    Otherwise `login` is the current login, or null without a login."""

    open: bool
    login: Login | None = None


class TokenView(View):
    """A token, without its text."""

    token: int
    owner: str
    scopes: tuple[Scope, ...]
    internal: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
