"""Calibration: fit a core's operator model to random networks on the emulated core; check it on other networks.

`calibrate(core, networks=...)` returns an `OperatorModel`; `write(model, path)` stores it for
`sparsemod.targets.operator_model`.
"""

from sparsemod.calibration.calibrate import calibrate, write
from sparsemod.calibration.samples import Sample, samples

__all__ = ["Sample", "calibrate", "samples", "write"]
