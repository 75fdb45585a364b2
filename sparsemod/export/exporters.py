"""The formats by name. To add one: a module with `KINDS` and `export`, and a line in `FORMATS`."""

import hashlib
import importlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemod.errors import UnknownName, Unsupported
from sparsemod.export.names import DEFAULT, checked_name
from sparsemod.export.report import VERIFICATION, ExportedFile, ExportReport, FormatName

if TYPE_CHECKING:
    from sparsemod.quantization.integer_network import IntegerNetwork


@dataclass(frozen=True)
class Exporter:
    """A format: its name, a sentence about it, the module that writes it, and the extra that brings the packages it needs."""

    name: FormatName
    title: str
    module: str
    extra: str | None = None

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of layers it can express. Single layers may still be refused, for their attributes."""
        kinds: frozenset[str] = importlib.import_module(self.module).KINDS
        return kinds

    def export(
        self,
        network: "IntegerNetwork",
        folder: Path | str,
        *,
        name: str = DEFAULT,
        samples: Any = None,
        labels: Any = None,
        data: str = "random inputs",
    ) -> ExportReport:
        """Write the network's files into `folder` and run them against the network; the report lies beside them.

        `name` is the model's, in files and C code; `samples`: normalized float inputs (N, *input shape) with `labels` (N,), described by
        `data`; without them random int8 inputs are used.
        Raises InvalidInput for a name, Unsupported (operator, layer, and the formats that can), ToolsMissing with the pip command.
        """
        checked_name(name)
        started = time.perf_counter()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        check(self, network)
        write = importlib.import_module(self.module).export
        found: ExportReport = write(network, folder, name=name, samples=samples, labels=labels, data=data)
        report = found.model_copy(
            update={"files": tuple(_listed(folder)), "seconds": round(time.perf_counter() - started, 3)}
        )
        # How long it took is not in the file: the same network gives the same files, byte for byte.
        said = report.model_dump_json(indent=1, exclude={"seconds"})
        (folder / VERIFICATION).write_text(said + "\n", encoding="utf-8")
        return report


EXPORTERS: Mapping[str, Exporter] = {
    exporter.name: exporter
    for exporter in (
        Exporter("c", "C99 project, without dependencies", "sparsemod.export.c.exporter"),
        Exporter(
            "onnx",
            "ONNX, int8 as QuantizeLinear and DequantizeLinear pairs",
            "sparsemod.export.onnx.exporter",
            "onnx",
        ),
        Exporter(
            "tflite",
            "TensorFlow Lite flatbuffer, int8 in and out",
            "sparsemod.export.tflite.exporter",
            "tflite",
        ),
    )
}
FORMATS: tuple[FormatName, ...] = ("c", "onnx", "tflite")


def exporter(name: str, field: str = "formats") -> Exporter:
    """The format called `name`. Raises UnknownName."""
    if name not in EXPORTERS:
        raise UnknownName(field, name, EXPORTERS)
    return EXPORTERS[name]


def export(wanted: str, network: "IntegerNetwork", folder: Path | str, **options: Any) -> ExportReport:
    """Write `network` in the format called `wanted`; see Exporter.export."""
    return exporter(wanted).export(network, folder, **options)


def expressible(kind: str) -> tuple[str, ...]:
    """The formats that can express layers of this kind."""
    return tuple(name for name, found in EXPORTERS.items() if kind in found.kinds)


def check(exporter: Exporter, network: "IntegerNetwork") -> None:
    """Raises Unsupported for the first layer whose kind the format cannot express."""
    for layer in network.layers:
        if layer.kind not in exporter.kinds:
            raise refused(exporter.name, layer.kind, layer.name)


def refused(name: str, operator: str, layer: str, kind: str | None = None) -> Unsupported:
    """The error of a layer that format `name` cannot express; its text names the formats that can. `kind`, where `operator` says more
    than the layer's kind."""
    others = [other for other in expressible(kind or operator) if other != name]
    hint = f"formats that can: {', '.join(others)}" if others else "no format can"
    return Unsupported(operator, layer, f"the {name} export", hint=hint)


def _listed(folder: Path) -> Iterator[ExportedFile]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != VERIFICATION:
            content = path.read_bytes()
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            yield ExportedFile(name=path.relative_to(folder).as_posix(), size=len(content), digest=digest)
