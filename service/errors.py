"""Between exceptions and HTTP: status and JSON of an error on the server, and the same exception again in the client."""

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
    errors.ToolsMissing: 422,
    errors.EnvironmentFailure: 503,
    errors.ServerUnavailable: 503,
}
"""The status of each kind of error; of a subclass, that of the nearest class above it."""


class TooLarge(errors.InvalidInput):
    """A body beyond the limit."""


class NoSpace(errors.ServerUnavailable):
    """The server has no space for a file; it takes it once there is some."""


class TooSlow(errors.SparsemodError):
    """A body that did not come in time."""


class AccessDenied(errors.SparsemodError):
    """The server does not do this for who asks; LoginNeeded and Forbidden say why."""


class LoginNeeded(AccessDenied):
    """No token, or one that is no good (any more)."""


class Forbidden(AccessDenied):
    """The token does not allow this."""


class ServerError(errors.SparsemodError):
    """The server failed on a request; its log says why."""


def status_of(error: errors.SparsemodError) -> int:
    """The HTTP status for an error of ours."""
    if isinstance(error, TooLarge):
        return 413
    if isinstance(error, TooSlow):
        return 408
    if isinstance(error, AccessDenied):
        return 401 if isinstance(error, LoginNeeded) else 403
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def answer(error: errors.SparsemodError) -> ErrorAnswer:
    """The JSON for an error of ours."""
    detail: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, errors.InvalidInput):
        detail |= {"field": error.field, "value": errors.shorten(error.value, 200), "allowed": error.allowed}
        detail["others"] = tuple(Mistake(field=one.field, message=str(one)) for one in error.others)
    return ErrorAnswer(error=ErrorDetail(**detail))


class _Remote:
    """A value that arrived as text: shown as it is, without another pair of quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def exception(status: int, detail: ErrorDetail) -> errors.SparsemodError:
    """The exception that the server had, as far as its answer tells: the same class, the same message."""
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
    if detail.field is not None:
        found = kinds.get(detail.type, errors.InvalidInput)
        return found(detail.field, _Remote(detail.value or ""), detail.allowed or detail.message)
    if status in (401, 403):
        return (LoginNeeded if status == 401 else Forbidden)(detail.message)
    if status == 404:
        return _plain(errors.NotFound, detail.message)
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


def _plain(kind: type[errors.NotFound], message: str) -> errors.NotFound:
    """A NotFound with the server's own sentence."""
    error = kind("thing", "")
    error.args = (message,)
    return error
