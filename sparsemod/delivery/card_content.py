"""The content of a report card: the facts about a network, as tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparsemod.delivery.card import Card, Section, Table
from sparsemod.delivery.needs import Fit
from sparsemod.export.c.arena import ArenaPlan
from sparsemod.export.report import ExportReport, Verification
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.records import Measurement, Value
from sparsemod.templates import render_optional
from sparsemod.units import ERROR, METRICS, TRAINED

if TYPE_CHECKING:
    from sparsemod.export.c.networks import CNetwork


def compose(
    network: "CNetwork",
    arena: ArenaPlan,
    reports: Sequence[ExportReport],
    device_fits: Sequence[Fit],
    *,
    title: str,
    subtitle: str,
    parameters: Mapping[str, Value],
    measurements: Sequence[Measurement],
    note: str,
    name: str,
    svg: str,
    png: bytes,
) -> Card:
    """Compose all sections; the target device is the first entry of `device_fits`."""
    sections = [
        *([Section("Measured in its trial", table=_measurements(measurements))] if measurements else []),
        Section("Files, checked after export", _checked(note), _formats(reports)),
        Section("Which devices it fits", _fit_words(device_fits), _fit_table(device_fits)),
        Section("Inputs and classes", _input_words(network), _constants(network)),
        Section("Memory while it runs", _memory_words(arena), figure=True),
        Section("Layers", _layer_words(network), _layers(network, device_fits[0])),
        *([Section("Parameters", table=_parameters(parameters))] if parameters else []),
        *(
            Section(f"How to use it: {report.format}", code=code)
            for report in reports
            if report.failure is None and (code := _usage(network, report.format, name))
        ),
    ]
    return Card(
        title,
        subtitle or _shape_words(network),
        _tiles(network, measurements, device_fits[0]),
        tuple(sections),
        svg,
        png,
    )


def _tiles(
    network: "CNetwork", measurements: Sequence[Measurement], target: Fit
) -> tuple[tuple[str, str, str], ...]:
    tiles = []
    for split in ("test", "validation"):
        measured = [m for m in measurements if m.metric in TRAINED and m.split == split]
        if measured and measured[0].metric != ERROR:
            tiles.append((f"{_title(measured[0])}, {_word(network)}", _value(measured[0]), split))
        errors = [m for m in measured if m.metric == ERROR]
        if errors:
            spread = (
                f" ± {100 * errors[0].standard_error:.2f}" if errors[0].standard_error is not None else ""
            )
            tiles.append(
                (f"accuracy, {_word(network)}", f"{100 * (1 - errors[0].value):.2f} %", f"{split}{spread}")
            )
    least = "" if target.need.measured else "at least "
    tiles.append(("flash", least + _bytes(target.need.flash), f"of {_bytes(target.device.flash)}"))
    tiles.append(("RAM", least + _bytes(target.need.ram), f"of {_bytes(target.device.ram)}"))
    if target.milliseconds is not None:
        tiles.append(
            ("one inference", METRICS["latency"].show(target.milliseconds), f"estimate, {target.device.name}")
        )
    tiles.append(("multiply-adds", f"{sum(info.macs for info in network.layers_info()):,}", "per inference"))
    return tuple(tiles)


def _word(network: "CNetwork") -> str:
    return "dynamic" if isinstance(network, DynamicNetwork) else "int8"


def _measurements(measurements: Sequence[Measurement]) -> Table:
    rows = [(_title(m), _value(m), m.split or "", m.target or "", m.method) for m in measurements]
    return Table(("what", "value", "data", "on", "how"), tuple(rows), frozenset({1}))


def _title(m: Measurement) -> str:
    return METRICS[m.metric].title if m.metric in METRICS else m.metric.replace("_", " ")


def _value(m: Measurement) -> str:
    value_text = METRICS[m.metric].show(m.value) if m.metric in METRICS else _number(m)
    if m.standard_error is None:
        return value_text
    return (
        f"{value_text} ± {100 * m.standard_error:.2f}"
        if m.unit == "fraction"
        else f"{value_text} ± {m.standard_error:g}"
    )


def _number(m: Measurement) -> str:
    if m.unit == "fraction":
        return f"{100 * m.value:.2f} %"
    return f"{m.value:,.0f} {m.unit}" if float(m.value).is_integer() else f"{m.value:,.4g} {m.unit}"


def _checked(note: str) -> str:
    words = (
        "Each file was run after it was written and compared with the network, output byte by output byte; differences are in steps "
        "of the int8 output, of a float output in units in the last place."
    )
    return f"{words} {note}" if note else words


def _formats(reports: Sequence[ExportReport]) -> Table:
    rows: list[tuple[str, ...]] = []
    for report in reports:
        size = _bytes(sum(file.size for file in report.files)) if report.files else ""
        if report.failure is not None:
            rows.append((report.format, "", "", "", "", f"no: {report.failure}"))
        for check in report.verifications:
            error = "" if check.error is None else f"{100 * (1 - check.error):.2f} %"
            rows.append(
                (
                    report.format,
                    size,
                    f"{check.runtime}, {check.data}",
                    error,
                    _difference(check),
                    _agreement_text(check),
                )
            )
            size = ""
        rows += [(report.format, "", f"not checked: {words}", "", "", "") for words in report.missing]
    columns = ("format", "files", "run by, on", "accuracy", "largest difference", "verdict")
    return Table(columns, tuple(rows), frozenset({1, 3, 4}))


def _difference(check: Verification) -> str:
    return "0" if check.exact else f"{check.largest_difference} in {100 * check.differing:.2f} % of values"


def _agreement_text(check: Verification) -> str:
    if check.exact:
        return "equal"
    if check.agreement is None:
        return f"differs in {100 * check.differing:.2f} % of values"
    return f"same class for {100 * check.agreement:.2f} % of {check.samples}"


def _fit_words(device_fits: Sequence[Fit]) -> str:
    methods = "; ".join(dict.fromkeys(f.need.method for f in device_fits))
    return (
        f"The C code of this network, without the firmware around it: {methods}. Milliseconds are estimates: executed instructions x the "
        "device's stated cycles per instruction / its clock."
    )


def _fit_table(device_fits: Sequence[Fit]) -> Table:
    rows = []
    for fit in device_fits:
        verdict = ", ".join(f"{region} by {over:,} B" for region, over in fit.over.items())
        time = "" if fit.milliseconds is None else METRICS["latency"].show(fit.milliseconds)
        rows.append(
            (
                fit.device.title,
                fit.device.core,
                f"{_bytes(fit.need.flash)} of {_bytes(fit.device.flash)}",
                f"{_bytes(fit.need.ram)} of {_bytes(fit.device.ram)}",
                "" if fit.need.instructions is None else f"{fit.need.instructions:,}",
                time,
                f"no: exceeds {verdict}" if verdict else "fits",
            )
        )
    columns = ("device", "core", "flash", "RAM", "instructions", "time", "verdict")
    return Table(columns, tuple(rows), frozenset({2, 3, 4, 5}))


def _memory_words(arena: ArenaPlan) -> str:
    lost = f", {arena.lost:,} B of them lost between tensors" if arena.lost else ""
    order = (
        "no order of the layers needs less" if arena.exact else "the best order of the layers that was found"
    )
    return f"The arena of the C code has {arena.size:,} B{lost}; {order}. Hatched: scratch of one layer."


_NAMED = {"values": "Values", "labels": "Labels"}
_MEANING = {
    "values": "In C, NAME_predict gives the values in the units of the training data.",
    "labels": "In C, NAME_classify tells which labels hold: those with an output above 0.",
    "pixels": "In C, NAME_classify gives the class of each position.",
    "normal": "In C, NAME_score gives the mean squared difference of the normalized sample and the output for it.",
}
"""What the C code makes of the outputs, by the kind of the network."""


def _input_words(network: "CNetwork") -> str:
    normalization = network.normalization
    words = (
        "The constants of the normalization are not known: samples must be normalized as in training."
        if normalization is None
        else f"Samples are normalized ({normalization.method}): (raw - offset) / scale. The C code does it; for ONNX and TensorFlow Lite do it before."
    )
    if network.classes:
        names = ", ".join(f"{index} {name}" for index, name in enumerate(network.classes))
        words += f" {_NAMED.get(network.kind, 'Classes')}: {names}."
    if network.kind in _MEANING:
        words += f" {_MEANING[network.kind]}"
    threshold = None if network.decoding is None else network.decoding.threshold
    if threshold is not None:
        words += f" A score above {threshold:.6g} is an anomaly."
    return words


def _constants(network: "CNetwork") -> Table | None:
    normalization = network.normalization
    if normalization is None:
        return None
    each = "channel" if network.input_layout.positions else "feature"
    rows = [
        (str(index), f"{offset:.9g}", f"{scale:.9g}")
        for index, (offset, scale) in enumerate(zip(normalization.offset, normalization.scale, strict=True))
    ]
    return Table((each, "offset", "scale"), tuple(rows), frozenset({1, 2}))


def _layer_words(network: "CNetwork") -> str:
    infos = network.layers_info()
    weights, nonzeros = sum(i.weights for i in infos), sum(i.nonzeros for i in infos)
    share = f"{100 * nonzeros / weights:.1f} % of them not zero" if weights else "none"
    biases = "float32" if isinstance(network, DynamicNetwork) else "int32"
    return f"{len(infos)} layers, {weights:,} int8 weights ({share}), {sum(i.bias_bytes for i in infos) // 4:,} {biases} biases."


def _layers(network: "CNetwork", target: Fit) -> Table:
    rows, kernels = [], target.need.kernels
    for info in network.layers_info():
        count = target.need.per_layer.get(info.name)
        rows.append(
            (
                info.name,
                info.kind.replace("_", " "),
                " + ".join(_shape(shape) for shape in info.input_shapes),
                _shape(info.output_shape),
                f"{info.macs:,}" if info.macs else "",
                f"{info.weights:,}" if info.weights else "",
                f"{100 * info.nonzeros / info.weights:.0f} %" if info.weights else "",
                f"{info.weight_bytes + info.bias_bytes:,}" if info.weights else "",
                "" if count is None else f"{count:,}",
                *([kernels.get(info.name, "")] if kernels else []),
            )
        )
    columns = (
        "layer",
        "kind",
        "from",
        "to",
        "MACs",
        "weights",
        "nonzero",
        "bytes",
        f"instructions, {target.need.core}",
        *(["kernel"] if kernels else []),
    )
    return Table(columns, tuple(rows), frozenset({4, 5, 6, 7, 8}))


def _parameters(parameters: Mapping[str, Value]) -> Table:
    rows = [
        (key, f"{value:.4g}" if isinstance(value, float) else str(value)) for key, value in parameters.items()
    ]
    return Table(("parameter", "value"), tuple(rows))


def _usage(network: "CNetwork", format_name: str, name: str) -> str:
    """Return the instructions for a format's files; "" for a format without the template usage-FORMAT.txt."""
    facts: dict[str, Any] = {"name": name, "raw": network.normalization is not None, "kind": network.kind}
    if isinstance(network, DynamicNetwork):
        return render_optional("sparsemod.delivery", f"usage-{format_name}-dynamic.txt", **facts)
    input_info = network.tensors[network.input]
    return render_optional(
        "sparsemod.delivery",
        f"usage-{format_name}.txt",
        shape=input_info.shape,
        channels_last=tuple(input_info.shape[axis] for axis in input_info.axes.memory),
        scale=input_info.scale,
        zero_point=input_info.zero_point,
        **facts,
    )


def _shape_words(network: "CNetwork") -> str:
    word = network.title if isinstance(network, DynamicNetwork) else "int8 network"
    return f"{word}, {_shape(network.input_shape)} in, {_shape(network.output_shape)} out"


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def _bytes(count: int) -> str:
    return (
        f"{count:,} B"
        if count < 10_000
        else f"{count / 1024:,.1f} KB"
        if count % 1024
        else f"{count // 1024:,} KB"
    )
