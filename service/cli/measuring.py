"""`sparsemod measure`: the costs of a trained model from a file, layer by layer, and its C."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import ImportOption, console, import_modules, metric_text, require_folder
from service.cli.local import one_thread

if TYPE_CHECKING:
    from sparsemod.export.model_report import ModelReport
    from sparsemod.importing import Imported, Source
    from sparsemod.pipeline.model_report import Samples

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="Model file: .onnx, .tflite or .pt2; or MODULE:ATTRIBUTE, a torch module in Python code.",
        metavar="MODEL",
    ),
]


def measure(
    model: ModelArgument,
    device: Annotated[str, typer.Option(help="The device.")] = "stm32f446",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Samples as the model reads them, .npz with x and y: for the activation ranges of a float model, and the error."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for C, report card and report.json. Default: measured/NAME."
        ),
    ] = None,
    shape: Annotated[
        str, typer.Option(help="Shape of one sample, such as 1,28,28, where the file does not state it.")
    ] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    imports: ImportOption = None,
) -> None:
    """Measure a trained model: costs layer by layer, the devices that it fits, and its C.

    A float model is quantized: with --data its activation ranges are those of the samples. An int8 model keeps its own
    scales, zero points and integers; its outputs are compared with those of its file's runtime.
    """
    from sparsemod.targets import device as known_device

    import_modules(imports)
    known_device(device)
    with console(stderr=True).status("reading the model"):
        one_thread()
        from sparsemod.export.names import model_name
        from sparsemod.pipeline.model_report import integer_network, report_on
        from sparsemod.pipeline.model_runtime import compare_with_file

        source, found, samples = read(model, shape, data)
        network, notes = integer_network(found, samples)
        given = None if samples is None else samples.x
        check = compare_with_file(
            source, found, given, data="random inputs" if samples is None else samples.description
        )
        report = report_on(found, network, device, samples=samples, notes=notes, check=check)
    name = model_name(found.name)
    folder = require_folder(out or Path("measured") / name, "--out")
    written = _write(report, network, samples, folder, name)
    if json_output:
        typer.echo(report.model_dump_json(indent=1))
        return
    show(report)
    for line in written:
        console().print(line, soft_wrap=True)


def read(model: str, shape: str, data: Path | None) -> "tuple[Source, Imported, Samples | None]":
    """Return the file, the model and its samples. `shape` is text such as "1,28,28"."""
    from sparsemod.importing import READERS, Source, read_model
    from sparsemod.pipeline.model_data import samples_of, stated_shape

    sizes = stated_shape(shape, data)
    if is_attribute(model):
        source = Source(model, b"")
        found = READERS.get("attribute")().read(source, sizes)
    else:
        source = Source.of(Path(model))
        found = read_model(source, sizes)
    return source, found, None if data is None else samples_of(data, found)


def is_attribute(model: str) -> bool:
    """Return whether a model is named as MODULE:ATTRIBUTE."""
    return ":" in model and not Path(model).exists()


def _write(
    report: "ModelReport", network: object, samples: "Samples | None", folder: Path, name: str
) -> list[str]:
    """Write C, report card and report; return a line for each."""
    from sparsemod.delivery.deliver import CARD, PAGE, Subject, deliver
    from sparsemod.quantization import IntegerNetwork

    if not isinstance(network, IntegerNetwork):
        raise TypeError(type(network).__name__)
    subject = Subject(
        network, report.name, subtitle=f"{report.format} model", measurements=report.measurements,
        samples=None if samples is None else samples.x, labels=None if samples is None else samples.y,
        data="random inputs" if samples is None else samples.description, note="; ".join(report.notes),
    )  # fmt: skip
    delivered = deliver(subject, folder, ("c",), target=report.device, name=name)
    (folder / "report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / "network.npz").write_bytes(network.to_bytes())
    lines = [line for one in delivered.reports for line in one.lines()]
    return [*lines, f"{folder}: C, network.npz, report.json, {CARD}, {PAGE}"]


def show(report: "ModelReport") -> None:
    """Print the layer table, the costs, the devices and the notes."""
    from rich import box
    from rich.table import Table

    output = console()
    shape = "×".join(map(str, report.shape))
    output.print(f"{report.name}: {report.format}, {shape} in, {'×'.join(map(str, report.outputs))} out")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("layer", "kind", "output"):
        table.add_column(title)
    for title in ("multiply-adds", "weights", "bytes", "memory", "instructions", "ms"):
        table.add_column(title, justify="right")
    for layer in report.layers:
        numbers = (layer.macs, layer.weights, layer.bytes, layer.memory)
        table.add_row(
            layer.name, layer.kind, "×".join(map(str, layer.output)), *(f"{n:,}" if n else "" for n in numbers),
            f"{layer.instructions:,.0f}" if layer.instructions else "",
            f"{layer.milliseconds:.3g}" if layer.milliseconds else "",
        )  # fmt: skip
    output.print(table)
    output.print(f"instructions of each layer: {report.layer_method}", soft_wrap=True)
    for metric in ("flash", "ram", "instructions", "latency", "energy", "macs", "parameters"):
        one = next((m for m in report.measurements if m.metric == metric), None)
        if one is not None:
            output.print(f"{metric:<13} {metric_text(metric, one.value):>12}  {one.method}", soft_wrap=True)
    if report.error is not None:
        floats = (
            ""
            if report.float_error is None
            else f", before quantization {metric_text('error', report.float_error)}"
        )
        output.print(
            f"{'error':<13} {metric_text('error', report.error):>12}  of the integer network{floats}",
            soft_wrap=True,
        )
    devices = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("device", "fits"):
        devices.add_column(title)
    devices.add_column("ms", justify="right")
    devices.add_column("basis")
    for fit in report.fits:
        over = ", ".join(f"{region} over by {excess:,} B" for region, excess in fit.over.items())
        time = "" if fit.milliseconds is None else f"{fit.milliseconds:.3g}"
        devices.add_row(fit.device, over or "yes", time, fit.basis)
    output.print(devices)
    if report.check is not None:
        far = "equal in every byte" if report.check.exact else (
            f"at most {report.check.largest_difference} quanta apart, {100 * report.check.differing:.2f} % of the values differ"
        )  # fmt: skip
        output.print(
            f"compared with {report.check.runtime} on {report.check.samples} samples: {far}", soft_wrap=True
        )
    elif report.missing:
        output.print(f"not compared with the file's runtime: {report.missing}", soft_wrap=True)
    for note in report.notes:
        output.print(f"note: {note}", soft_wrap=True)


COMMANDS = {"measure": measure}
