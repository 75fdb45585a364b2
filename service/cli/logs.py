"""The log of server, suggester and worker on stderr: text for people, or JSON lines for collectors."""

import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

VARIABLE = "SPARSEMOD_LOG_FORMAT"
"""Environment variable through which --log-format reaches the processes that a command starts."""


class LogFormat(StrEnum):
    """Format of log lines."""

    TEXT = "text"
    JSON = "json"


LogFormatOption = Annotated[
    LogFormat,
    typer.Option("--log-format", help="Log lines as text or as JSON, one object a line.", envvar=VARIABLE),
]


def configure_logs(form: LogFormat = LogFormat.TEXT) -> None:
    """Send log lines to stderr, coloured only in a terminal."""
    import structlog

    from service.cli.common import quiet_retries

    os.environ[VARIABLE] = form.value
    quiet_retries()
    shared: list[Any] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if form is LogFormat.JSON:
        processors: list[Any] = [
            *shared,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        processors = [
            *shared,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            # Plain tracebacks: rich ones show local variables, which may be tokens.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    structlog.configure(
        processors=processors,
        # Look up sys.stderr for each line, because a test may replace it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
