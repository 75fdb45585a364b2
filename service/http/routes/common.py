"""What the endpoints share: where store and files come from, path parameters, documented errors."""

from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor

from service.files.artifacts import ArtifactFiles
from service.schemas.errors import ErrorAnswer
from service.schemas.logins import Login
from service.store import Store


class Decimal(Convertor[int]):
    """A path segment that is a number in its one canonical spelling: ASCII digits without sign, point or leading zero.

    It is the only parser of ids in paths. The guard and the endpoint get the integer that it returns, so they cannot disagree about which
    experiment or attempt a request means. A segment in another spelling matches no route, which is answered with 404.
    """

    def convert(self, value: str) -> int:
        """The number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """The number's spelling."""
        return str(value)


class Number(Decimal):
    """The number of an experiment or an attempt."""

    regex = "[1-9][0-9]{0,14}"


class Index(Decimal):
    """The index of a trial."""

    regex = "0|[1-9][0-9]{0,8}"


# Registered before any route is made: every module of routes imports this one.
register_url_convertor("number", Number())
register_url_convertor("index", Index())


# Not plain functions: the framework would call each of them in a thread, and wait for a free one.


async def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _files(request: Request) -> ArtifactFiles:
    files: ArtifactFiles = request.app.state.files
    return files


async def _login(request: Request) -> Login | None:
    login: Login | None = request.scope["sparsemod_login"]
    return login


StoreDep = Annotated[Store, Depends(_store)]
FilesDep = Annotated[ArtifactFiles, Depends(_files)]
LoginDep = Annotated[Login | None, Depends(_login)]

ExperimentId = Annotated[int, Path(ge=1, lt=10**15, description="Number of the experiment.", examples=[1])]
TrialIndex = Annotated[
    int, Path(ge=0, lt=10**9, description="Index of the trial in its experiment.", examples=[0])
]
AttemptId = Annotated[int, Path(ge=1, lt=10**15, description="Number of the attempt.", examples=[1])]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many items at most.")]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1, description="How many items to leave out.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]+$",
        description="Any unique text; the same request with the same key makes nothing twice.",
    ),
]

_DESCRIPTIONS = {
    400: "The request cannot be read.",
    401: "A login is needed: no token was shown, or one that is no good.",
    403: "The token does not allow it.",
    404: "There is no such thing.",
    409: "It contradicts what is stored; nothing was changed.",
    413: "The body is beyond its limit.",
    422: "Something that was given is not acceptable.",
    503: "The database does not answer, or a conversion takes too long.",
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of the errors that an endpoint may answer with."""
    wanted = sorted({*statuses, 401, 403, 422, 503})
    return {status: {"model": ErrorAnswer, "description": _DESCRIPTIONS[status]} for status in wanted}
