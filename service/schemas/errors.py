"""HTTP schemas of errors: the one shape of every error answer."""

from pydantic import Field

from service.schemas.trials import View


class Mistake(View):
    """A further error in the same input."""

    field: str
    message: str


class ErrorDetail(View):
    """An error, for programs (`type`, `field`) and for people (`message`).
    `others` lists further errors in the same input."""

    type: str = Field(examples=["InvalidSpec"])
    message: str = Field(
        examples=["objectives.0 = 'speed': one of error, model_size, working_memory, latency"]
    )
    field: str | None = None
    value: str | None = None
    allowed: str | None = None
    others: tuple[Mistake, ...] = ()


class ErrorAnswer(View):
    """The shape of every error answer."""

    error: ErrorDetail
