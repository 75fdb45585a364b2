"""Export of integer networks to the formats of devices and other tools, with one package or module per format.

`EXPORTERS` holds the formats. `export(format, network, folder, ...)` writes one and verifies it against the integer network.
This package imports torch and the formats' packages only during an export.
"""

from sparsemod.export.exporters import EXPORTERS, Exporter, ExporterConfig, export, exporter, expressible
from sparsemod.export.report import ExportedFile, ExportReport, Verification

__all__ = [
    "EXPORTERS",
    "ExportReport",
    "ExportedFile",
    "Exporter",
    "ExporterConfig",
    "Verification",
    "export",
    "exporter",
    "expressible",
]
