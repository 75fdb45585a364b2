"""The format C: a project written by `sparsemod.export.c`, and verified by compiling and running it on this machine."""

from pathlib import Path
from typing import Any

from sparsemod.errors import SparsemodError
from sparsemod.export.c import dynamic
from sparsemod.export.c.host import compiler, host_run, host_run_named
from sparsemod.export.c.layers import EMITTERS
from sparsemod.export.c.networks import project_any
from sparsemod.export.compare import compare, compare_floats, compare_named, float_inputs
from sparsemod.export.exporters import EXPORTERS, Exporter, ExporterConfig
from sparsemod.export.report import ExportReport, Verification
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.quantization.integer_network import IntegerNetwork


@EXPORTERS.register("c")
class C(Exporter[ExporterConfig]):
    """C99 project, without dependencies."""

    Config = ExporterConfig
    checks_fit = True
    takes_lengths = True
    takes_dynamic = True

    @property
    def kinds(self) -> frozenset[str]:
        """See Exporter."""
        return frozenset(EMITTERS.names())

    def write(
        self,
        network: IntegerNetwork | DynamicNetwork,
        folder: Path,
        *,
        name: str,
        samples: Any,
        labels: Any,
        data: str,
        lengths: Any = None,
    ) -> ExportReport:
        """Write the project, compile it on this machine and compare it with the network; see Exporter.write."""
        c_project = project_any(network, folder, name=name)
        memory = {"arena": c_project.arena.size, "constants": c_project.data_bytes}
        try:
            compiler()
        except SparsemodError as error:
            return ExportReport(format="c", name=name, memory=memory, missing=(str(error),))
        if isinstance(network, DynamicNetwork):
            check = _compared(network, samples, labels, lengths, data)
            return ExportReport(format="c", name=name, verifications=(check,), memory=memory)
        if network.several:
            check = compare_named(
                network, lambda x: host_run_named(network, x), runtime="compiled C on this machine", samples=samples, labels=labels,
                data=data,
            )  # fmt: skip
            return ExportReport(format="c", name=name, verifications=(check,), memory=memory)
        # Use raw samples if the network has a normalization, to also check the file's quantize function.
        raw = (
            None if network.normalization is None or samples is None else network.normalization.undo(samples)
        )
        check = compare(
            network,
            lambda x: host_run(network, x if raw is None else raw, lengths),
            int8_inputs=None if raw is None else network.quantize_samples(raw),
            runtime="compiled C on this machine" + ("" if raw is None else ", from raw samples"),
            samples=samples,
            labels=labels,
            data=data,
            lengths=lengths,
        )
        return ExportReport(format="c", name=name, verifications=(check,), memory=memory)


def _compared(network: DynamicNetwork, samples: Any, labels: Any, lengths: Any, data: str) -> Verification:
    """Compare the compiled C with the network, from raw samples if the network has a normalization."""
    x, steps = float_inputs(network, samples, lengths)
    raw = None if network.normalization is None or samples is None else network.normalization.undo(x)
    if raw is not None and network.normalization is not None:
        x = network.normalization.apply(raw)  # what the C code reads
    outputs = dynamic.host_run(network, x if raw is None else raw, steps, raw=raw is not None)
    runtime = "compiled C on this machine" + ("" if raw is None else ", from raw samples")
    words = data if samples is not None else "random inputs"
    return compare_floats(network, outputs, x, labels, steps, runtime=runtime, data=words)
