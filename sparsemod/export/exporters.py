"""The formats by name. To add a format, write a module with a registered class that derives from `Exporter`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import Field

from sparsemod.errors import Unsupported
from sparsemod.export.names import DEFAULT, checked_name
from sparsemod.export.report import VERIFICATION, ExportedFile, ExportReport, FormatName
from sparsemod.files import digest_of
from sparsemod.plugins import Plugin, PluginConfig, Plugins

if TYPE_CHECKING:
    from sparsemod.quantization.integer_network import IntegerNetwork


class ExporterConfig(PluginConfig):
    """Base of the formats' configs."""

    format: FormatName = Field(description="Name of the format.")


class Deployed(Protocol):
    """What the exporters read of a dynamically quantized network."""

    title: ClassVar[str]

    @property
    def uses_lengths(self) -> bool:
        """Whether it reads the number of valid steps of each sample."""
        ...


C = TypeVar("C", bound=ExporterConfig)


class Exporter(Plugin[C]):
    """A format. The first sentence of the class's description is its title."""

    extra: ClassVar[str | None] = None
    """The extra of sparsemod with the packages that the format needs."""

    checks_fit: ClassVar[bool] = False
    """Whether the files run on the target itself, so that a network beyond its flash or RAM is rejected."""

    checks_files: ClassVar[bool] = False
    """Whether the target holds the files and the arena of the report, so that a device too small for them rejects the export."""

    takes_dynamic: ClassVar[bool] = False
    """Whether `write` takes dynamically quantized networks."""

    takes_lengths: ClassVar[bool] = False
    """Whether the files read how many steps of a sample are valid. Then `write` takes `lengths`."""

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of layers that the format can express. It may still reject single layers for their attributes."""
        raise NotImplementedError

    def write(
        self, network: Any, folder: Path, *, name: str, samples: Any, labels: Any, data: str
    ) -> ExportReport:
        """Write the files into `folder`, run them on `samples` (or random inputs) and compare them with the network.

        `network`: an IntegerNetwork, or a DynamicNetwork if the class has `takes_dynamic`.

        Raises Unsupported, ToolsMissing."""
        raise NotImplementedError

    def export(
        self,
        network: "IntegerNetwork | Deployed",
        folder: Path | str,
        *,
        name: str = DEFAULT,
        samples: Any = None,
        labels: Any = None,
        lengths: Any = None,
        data: str = "random inputs",
    ) -> ExportReport:
        """Write the network's files and the report into `folder`, and compare the files with the network.

        `name`: the model's name in files and C code. `samples`: normalized float inputs (N, *input shape), for several
        inputs by name, with `labels` (N,), described by `data`; without samples random inputs are used. `lengths` (N,): the valid
        steps of the samples, for a network that uses them.
        Raises InvalidInput for a name, Unsupported (with operator, layer, and the formats that support it), ToolsMissing with the pip
        command.
        """
        checked_name(name)
        started = time.perf_counter()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        check(self, network)
        options = {"lengths": lengths} if network.uses_lengths else {}
        written = self.write(network, folder, name=name, samples=samples, labels=labels, data=data, **options)
        report = written.model_copy(
            update={"files": tuple(_listed(folder)), "seconds": round(time.perf_counter() - started, 3)}
        )
        # The file omits the duration, so that the same network gives the same files, byte for byte.
        report_json = report.model_dump_json(indent=1, exclude={"seconds"})
        (folder / VERIFICATION).write_text(report_json + "\n", encoding="utf-8")
        return report


EXPORTERS: Plugins[Exporter[Any], ExporterConfig] = Plugins(
    "export format",
    "sparsemod.exporters",
    "formats",
    ExporterConfig,
    ("sparsemod.export.c.exporter", "sparsemod.export.onnx.exporter", "sparsemod.export.tflite.exporter"),
    key="format",
)


def exporter(name: str, field: str = "formats") -> Exporter[Any]:
    """Return the format called `name`, with its defaults. Raises UnknownName."""
    EXPORTERS.get(name, field=field)
    return EXPORTERS.create(EXPORTERS.config(name))


def export(
    wanted: str, network: "IntegerNetwork | Deployed", folder: Path | str, **options: Any
) -> ExportReport:
    """Write `network` in the format called `wanted`; see Exporter.export."""
    return exporter(wanted).export(network, folder, **options)


def expressible(kind: str) -> tuple[str, ...]:
    """Return the formats that can express layers of this kind."""
    return tuple(name for name in EXPORTERS.names() if kind in exporter(name).kinds)


def check(handler: Exporter[Any], network: "IntegerNetwork | Deployed") -> None:
    """Raise Unsupported for a kind of network that the format does not take, and for the first layer that it cannot express.

    The rules of the C export check the operators of a dynamically quantized network."""
    from sparsemod.quantization.integer_network import IntegerNetwork

    if not isinstance(network, IntegerNetwork):
        if not handler.takes_dynamic:
            taking = [name for name in EXPORTERS.names() if exporter(name).takes_dynamic]
            hint = f"supported by: {', '.join(taking)}; quantization.scheme static makes a network for every format"
            raise Unsupported(network.title, "all", f"the {handler.config.format} export", hint=hint)
        return
    for layer in network.layers:
        if layer.kind not in handler.kinds:
            raise unsupported_layer(handler.config.format, layer.kind, layer.name)
        if layer.attributes.get("lengths") and not handler.takes_lengths:
            raise unsupported_layer(
                handler.config.format, f"{layer.kind} with lengths", layer.name, layer.kind
            )


def unsupported_layer(name: str, operator: str, layer: str, kind: str | None = None) -> Unsupported:
    """Return the error for a layer that format `name` cannot express; its message lists the formats that can.

    Pass `kind` when `operator` contains more than the layer's kind."""
    supporting = [format_name for format_name in expressible(kind or operator) if format_name != name]
    hint = f"supported by: {', '.join(supporting)}" if supporting else "no format supports it"
    return Unsupported(operator, layer, f"the {name} export", hint=hint)


def _listed(folder: Path) -> Iterator[ExportedFile]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != VERIFICATION:
            content = path.read_bytes()
            digest = digest_of(content)
            yield ExportedFile(name=path.relative_to(folder).as_posix(), size=len(content), digest=digest)
