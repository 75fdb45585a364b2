"""Calibration: random networks, measured on the emulated core, give a core's operator model and its error on other networks.

`calibrate(core, networks=...)` -> `OperatorModel`; `write(model, path)` stores it where `sparsemod.targets.operator_model` reads it.
"""

from sparsemod.calibration.calibrate import calibrate, write
from sparsemod.calibration.samples import Sample, samples

__all__ = ["Sample", "calibrate", "samples", "write"]
