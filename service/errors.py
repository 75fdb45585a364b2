"""Translate exceptions to HTTP status and JSON on the server, and back to exceptions in the client."""

from typing import Any

from service.schemas.errors import ErrorAnswer, ErrorDetail, Mistake
from sparsemod import errors

STATUS: dict[type[errors.SparsemodError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidInput: 422,
    errors.DigestMismatch: 422,
    errors.BuildError: 422,
    errors.Unsupported: 422,
    errors.DataMissing: 422,
    errors.SpaceEmpty: 422,
    errors.EmulationError: 422,
    errors.BoardError: 422,
    errors.ToolsMissing: 422,
    errors.EnvironmentFailure: 503,
    errors.ServerUnavailable: 503,
}
"""HTTP status by error class. A subclass without an entry gets the status of its nearest base class."""


class TooLarge(errors.InvalidInput):
    """The request body exceeds the size limit."""


class NoSpace(errors.ServerUnavailable):
    """The server has no disk space for a file. The client may retry later."""


class TooSlow(errors.SparsemodError):
    """The request body did not arrive in time."""


class AccessDenied(errors.SparsemodError):
    """The caller may not do this. LoginNeeded and Forbidden give the reason."""


class LoginNeeded(AccessDenied):
    """The token is missing, unknown, expired or revoked."""


class Forbidden(AccessDenied):
    """The token's scopes do not allow this."""


class QuotaExceeded(errors.Conflict):
    """A request would exceed a quota of its owner. Nothing was changed."""

    def __init__(
        self, quota: str, owner: str | None, used: int, adding: int, limit: int, advice: str = ""
    ) -> None:
        unit = " B" if quota == "disk" else ""
        whose = "" if owner is None else f" of {owner}"
        more = f", and this needs {adding:,}{unit}" if adding > 1 else ""
        self.field, self.value, self.allowed = f"quota.{quota}", str(used + adding), f"at most {limit}{unit}"
        super().__init__(
            f"quota {quota!r}{whose}: {used:,}{unit} of {limit:,}{unit} are used{more}"
            + (f"; {advice}" if advice else "")
        )


class ServerError(errors.SparsemodError):
    """The server failed on a request. Its log gives the reason."""


def status_of(error: errors.SparsemodError) -> int:
    """Return the HTTP status of a SparsemodError."""
    if isinstance(error, TooLarge):
        return 413
    if isinstance(error, TooSlow):
        return 408
    if isinstance(error, AccessDenied):
        return 401 if isinstance(error, LoginNeeded) else 403
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def answer(error: errors.SparsemodError) -> ErrorAnswer:
    """Return the JSON answer for a SparsemodError."""
    detail: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, errors.InvalidInput):
        detail |= {"field": error.field, "value": errors.shorten(error.value, 200), "allowed": error.allowed}
        detail["others"] = tuple(Mistake(field=one.field, message=str(one)) for one in error.others)
    if isinstance(error, QuotaExceeded):
        detail |= {"field": error.field, "value": error.value, "allowed": error.allowed}
    return ErrorAnswer(error=ErrorDetail(**detail))


class _Remote:
    """A value received as text. `repr` returns the text without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def exception(status: int, detail: ErrorDetail) -> errors.SparsemodError:
    """Return the server's exception as far as its answer describes it: same class, same message."""
    kinds: dict[str, type[errors.InvalidInput]] = {
        kind.__name__: kind
        for kind in (
            errors.InvalidInput,
            errors.InvalidSpec,
            errors.InvalidCandidate,
            errors.UnknownName,
            TooLarge,
        )
    }
    if detail.type == QuotaExceeded.__name__:
        return _quota_exceeded(detail)
    if detail.field is not None:
        kind = kinds.get(detail.type, errors.InvalidInput)
        return kind(detail.field, _Remote(detail.value or ""), detail.allowed or detail.message)
    if status in (401, 403):
        return (LoginNeeded if status == 401 else Forbidden)(detail.message)
    if status == 404:
        return _not_found(errors.NotFound, detail.message)
    if detail.type == NoSpace.__name__:
        return NoSpace(detail.message)
    if detail.type == errors.StaleLease.__name__:
        return errors.StaleLease(detail.message)
    if status == 409:
        return errors.Conflict(detail.message)
    if status in (429, 503):
        return errors.ServerUnavailable(detail.message)
    if 400 <= status < 500:
        return errors.SparsemodError(detail.message)
    return ServerError(detail.message)


def _quota_exceeded(detail: ErrorDetail) -> QuotaExceeded:
    """Return a QuotaExceeded with the server's message and fields."""
    error = QuotaExceeded("", None, 0, 0, 0)
    error.args = (detail.message,)
    error.field, error.value, error.allowed = detail.field or "", detail.value or "", detail.allowed or ""
    return error


def _not_found(kind: type[errors.NotFound], message: str) -> errors.NotFound:
    """Return a NotFound with the server's message."""
    error = kind("thing", "")
    error.args = (message,)
    return error
