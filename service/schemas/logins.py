"""What goes over HTTP about logins."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from service.schemas.trials import Request, View


class Scope(StrEnum):
    """What a token allows."""

    READ = "read"  # look at everything
    WRITE = "write"  # make experiments and change one's own; includes read
    WORKER = "worker"  # claim trials and report them
    ADMIN = "admin"  # everything, also other people's experiments


class Login(View):
    """Who asks, by which token."""

    token: int
    owner: str
    scopes: tuple[Scope, ...]
    expires_at: datetime | None = None


class LoginRequest(Request):
    """A token, as `sparsemod token create` printed it."""

    token: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class Me(View):
    """`open`: there are no logins and everything is allowed. Else `login`, which is null for somebody who is not logged in."""

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
