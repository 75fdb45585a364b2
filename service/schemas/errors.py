"""What goes over HTTP about mistakes: the one shape of every error."""

from pydantic import Field

from service.schemas.trials import View


class Mistake(View):
    """A further mistake in the same input."""

    field: str
    message: str


class ErrorDetail(View):
    """What is wrong, for programs (`type`, `field`) and for people (`message`); `others` were found in the same go."""

    type: str = Field(examples=["InvalidSpec"])
    message: str = Field(
        examples=["objectives.0 = 'speed': one of error, model_size, working_memory, latency"]
    )
    field: str | None = None
    value: str | None = None
    allowed: str | None = None
    others: tuple[Mistake, ...] = ()


class ErrorAnswer(View):
    """The one shape of every error."""

    error: ErrorDetail
