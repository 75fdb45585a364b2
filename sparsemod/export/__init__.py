"""Files to take away: an integer network in the formats that devices and other tools read. One package or module per format.

`EXPORTERS` holds the formats, `export(format, network, folder, ...)` writes one and checks it against the network it came from.
Nothing here loads torch, or a format's own packages, before something is exported.
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
