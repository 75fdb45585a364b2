"""OpenTelemetry traces, when `SPARSEMOD_TELEMETRY` is set and `sparsemod[telemetry]` is installed.

Without both, nothing of OpenTelemetry is imported, and `span` costs a comparison. Where the traces go is set by the
standard variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sparsemod.errors import InvalidInput
from sparsemod.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

VARIABLE = "SPARSEMOD_TELEMETRY"
PARENT = "traceparent"
"""Header of requests with the caller's span, as the W3C recommendation Trace Context defines it."""

_ON = {"1", "true", "yes", "on", "t", "y"}
_OFF = {"", "0", "false", "no", "off", "f", "n"}

_tracer: Any = None
_NOTHING: AbstractContextManager[Any] = contextlib.nullcontext()


def configured() -> bool:
    """Return whether the environment asks for traces. Raises InvalidInput."""
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value not in _ON | _OFF:
        raise InvalidInput(VARIABLE, value, "true or false")
    return value in _ON


def enabled() -> bool:
    """Return whether this process records spans."""
    return _tracer is not None


def require() -> None:
    """Raise InvalidInput when the environment asks for traces and the packages are missing."""
    if configured():
        _import()


def start(part: str) -> None:
    """Record the spans of this process, a `part` of the service, when the environment asks for it.

    Raises InvalidInput when the packages are missing.
    """
    if not configured():
        return
    _import()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {"service.name": f"sparsemod-{part}", "service.version": __version__}
    if name := os.environ.get("OTEL_SERVICE_NAME"):
        about["service.name"] = name
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    record_with(provider)


def _import() -> None:
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        allowed = f"unset, or an installation with `pip install 'sparsemod[telemetry]'` ({error})"
        raise InvalidInput(VARIABLE, os.environ[VARIABLE], allowed) from error


def record_with(provider: "TracerProvider | None") -> None:
    """Record spans with `provider`; None: record none."""
    global _tracer
    _tracer = None if provider is None else provider.get_tracer("sparsemod", __version__)


def span(name: str, parent: str | None = None, **attributes: Any) -> AbstractContextManager[Any]:
    """Return a context manager for a span, which yields the span, or None when nothing is recorded.

    `parent`: the `traceparent` of another process; default: the span around this one. An attribute that is None is
    left out; `_` in its name stands for a dot. The span of an exception that passes through is marked as an error.
    """
    if _tracer is None:
        return _NOTHING
    return _span(name, parent, attributes)


@contextlib.contextmanager
def _span(name: str, parent: str | None, attributes: Mapping[str, Any]) -> Iterator[Any]:
    with _tracer.start_as_current_span(
        name, context=_context(parent), attributes=_attributes(attributes)
    ) as found:
        yield found


def open_span(name: str, **attributes: Any) -> Any:
    """Start and return a span that the caller ends with `end()`; None when nothing is recorded."""
    return None if _tracer is None else _tracer.start_span(name, attributes=_attributes(attributes))


def parent_of_requests() -> str | None:
    """Return the `traceparent` of the current span, None when nothing is recorded."""
    if _tracer is None:
        return None
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get(PARENT)


def inject(headers: MutableMapping[str, str]) -> None:
    """Add the current span to the headers of a request."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    TraceContextTextMapPropagator().inject(headers)


def _context(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({PARENT: parent})


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in values.items() if value is not None}
