"""Units of the metrics for people: bytes, milliseconds, millijoules, multiply-adds, fractions.

Inside the library every value is a float in the metric's unit. Only user input and output are text with
units.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sparsemod.errors import InvalidInput, UnknownName

_BYTES = {
    "b": 1.0,
    "byte": 1.0,
    "bytes": 1.0,
    "kb": 1024.0,
    "kib": 1024.0,
    "k": 1024.0,
    "mb": 1024.0**2,
    "mib": 1024.0**2,
    "gb": 1024.0**3,
    "gib": 1024.0**3,
}
_MILLISECONDS = {"ms": 1.0, "s": 1000.0, "us": 0.001, "µs": 0.001}
_MILLIJOULES = {"mj": 1.0, "j": 1000.0, "uj": 0.001, "µj": 0.001}
_COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_FRACTION = {"": 1.0, "%": 0.01}
_PLAIN = {"": 1.0}


@dataclass(frozen=True)
class Metric:
    """A quantity that a trial reports; smaller is better. `unit` is the unit of every stored value."""

    name: str
    unit: str
    title: str
    units: dict[str, float]
    default_unit: str  # unit of a number without a unit
    trained: bool = False
    """Whether it is a task's metric: known only after training, at the predictions of the finished network."""

    def parse(self, value: str | float, field: str) -> float:
        """Parse `"64 KB"`, `"10 ms"`, `"5 %"` or a number without unit; return a float in the metric's unit.

        Raises InvalidInput.
        """
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidInput(field, value, self.allowed())
        if isinstance(value, int | float):
            number, unit = float(value), self.default_unit
        else:
            match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zµ%]*)\s*", value.lower())
            if match is None:
                raise InvalidInput(field, value, self.allowed())
            unit = match[2] or self.default_unit
            try:
                number = float(match[1])
            except ValueError:
                raise InvalidInput(field, value, self.allowed()) from None
        if unit not in self.units or not 0 < number < float("inf"):
            raise InvalidInput(field, value, self.allowed())
        return number * self.units[unit]

    @property
    def bounded(self) -> bool:
        """Whether every value is at most 1; other metrics have no largest value."""
        return self.unit == "fraction"

    def allowed(self) -> str:
        """Describe the accepted forms of a limit on this metric."""
        units = ", ".join(unit for unit in self.units if unit) or "no unit"
        return f"a positive number, alone ({self.unit}) or with one of the units {units}"

    def show(self, value: float) -> str:
        """Format the value with a unit, for people."""
        if self.unit == "B":
            return (
                f"{value:.0f} B"
                if value < 10_000
                else f"{value / 1024:.1f} KB"
                if value < 10 * 1024**2
                else f"{value / 1024**2:.1f} MB"
            )
        if self.unit == "ms":
            return (
                f"{value * 1000:.0f} µs"
                if value < 1
                else f"{value:.2f} ms"
                if value < 1000
                else f"{value / 1000:.2f} s"
            )
        if self.unit == "mJ":
            return (
                f"{value * 1000:.3g} µJ"
                if value < 1
                else f"{value:.3g} mJ"
                if value < 1000
                else f"{value / 1000:.3g} J"
            )
        if self.unit == "fraction":
            return f"{100 * value:.2f} %"
        if self.trained:
            return f"{value:.4g}"
        return f"{value:,.0f}"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("error", "fraction", "error", _FRACTION, "", trained=True),
        Metric("hamming_error", "fraction", "wrong labels", _FRACTION, "", trained=True),
        Metric("label_f1_error", "fraction", "1 - F1 of the labels", _FRACTION, "", trained=True),
        Metric("auc_error", "fraction", "1 - AUC", _FRACTION, "", trained=True),
        Metric("pixel_error", "fraction", "wrong pixels", _FRACTION, "", trained=True),
        Metric("iou_error", "fraction", "1 - mean IoU", _FRACTION, "", trained=True),
        Metric("rmse", "target", "RMSE", _PLAIN, "", trained=True),
        Metric("mae", "target", "MAE", _PLAIN, "", trained=True),
        Metric("metric", "value", "own metric", _PLAIN, "", trained=True),
        Metric("model_size", "B", "model size", _BYTES, "b"),
        Metric("working_memory", "B", "working memory", _BYTES, "b"),
        Metric("latency", "ms", "latency", _MILLISECONDS, "ms"),
        Metric("energy", "mJ", "energy", _MILLIJOULES, "mj"),
        Metric("flash", "B", "flash", _BYTES, "b"),
        Metric("ram", "B", "RAM", _BYTES, "b"),
        Metric("macs", "MACs", "multiply-adds", _COUNT, ""),
        Metric("training_memory", "B", "training memory", _BYTES, "b"),
    )
}
OBJECTIVES = ("error", "model_size", "working_memory", "latency")
"""The objectives of a spec that names none."""
LINKED = ("flash", "ram")
"""Flash and RAM on the device with code and stack: known only for an int8 network on a calibrated core."""
ENERGY = "energy"
"""Energy of one inference: known only for a device whose profile states its power."""
ERROR = "error"
"""The metric of the task classification. In a spec it stands for the metric of the spec's task."""
TRAINED = tuple(name for name, one in METRICS.items() if one.trained)
"""The metrics of tasks. A spec minimizes at most one of them, the metric of its task."""
CHOICES = (*OBJECTIVES, *LINKED, ENERGY, "training_memory", *TRAINED[1:])
"""The metrics that can be objectives; a spec names one to four."""
ANGLE = "gradient_angle"
"""The angle between a training rule's gradient and the true one: a metric of a trial, no objective and no budget."""
ALIASES = {"size": "model_size", "memory": "working_memory", "time": "latency"}


def quality_among(names: Iterable[str]) -> str:
    """Return the task's metric among `names` of metrics; `error` if there is none."""
    return next((name for name in names if name in TRAINED), ERROR)


def metric(name: str, field: str) -> Metric:
    """Return the metric with this name or alias (such as size or memory). Raises UnknownName."""
    try:
        return METRICS[ALIASES.get(name, name)]
    except KeyError:
        raise UnknownName(field, name, [*METRICS, *ALIASES]) from None


def show_value(name: str, value: float) -> str:
    """A metric's value with its unit, for people; the plain number of a metric that is not in `METRICS`."""
    if name == ANGLE:
        return f"{value:.1f}°"
    return METRICS[name].show(value) if name in METRICS else f"{value:,.6g}"


def title(name: str) -> str:
    """What a metric is called in tables and plots."""
    if name == ANGLE:
        return "angle to the true gradient"
    return METRICS[name].title if name in METRICS else name


def over_budget(name: str, excess: float) -> str:
    """Say in one sentence that a metric is `excess` (in its unit) over its budget."""
    excess_text = METRICS[name].show(excess) if name in METRICS else f"{excess:g}"
    return f"{name} is {excess_text} over its budget"


def parse_upper(name: str, limit: str | float) -> tuple[str, float]:
    """An upper limit of the metric `name` or its alias: `"<= 3 %"`, `"3 %"` or a number in the metric's unit. Raises UnknownName, InvalidInput."""
    named = metric(name, "metric")
    value = limit.strip().removeprefix("<=") if isinstance(limit, str) else limit
    try:
        return named.name, named.parse(value, name)
    except InvalidInput as error:
        raise InvalidInput(
            name, limit, f"an upper limit, with or without <= before it: {error.allowed}"
        ) from None


def parse_limit(text: str, field: str) -> tuple[str, float]:
    """Parse a limit: `"flash <= 64 KB"` gives ("flash", 65536.0). Raises InvalidInput."""
    name, comparison, value = text.partition("<=")
    if not comparison:
        raise InvalidInput(field, text, "write METRIC <= VALUE UNIT, such as 'flash <= 64 KB'")
    limited = metric(name.strip().lower().replace(" ", "_"), field)
    try:
        return limited.name, limited.parse(value, field)
    except InvalidInput as error:
        raise InvalidInput(field, text, f"METRIC <= {error.allowed}") from None


def parse_bytes(value: str | int, field: str) -> int:
    """Parse `"4 GB"`, or a number of bytes, as bytes. Raises InvalidInput."""
    return int(METRICS["model_size"].parse(value, field))
