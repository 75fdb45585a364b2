"""Device profiles: memory sizes and instruction timing. Imports no torch.

`device(name)` returns a `Device`, `device_names()` all names, `load_device(path)` reads a user's profile. A
package adds devices through the entry point group `sparsemod.devices`.
"""

from sparsemod.targets.device import BoardCalibration, Device
from sparsemod.targets.device_fit import DeviceFit, device_fits
from sparsemod.targets.model import Calibration, OperatorModel, SharedFunction
from sparsemod.targets.profiles import (
    DEVICES,
    adopt_device,
    calibrated_cores,
    device,
    device_names,
    load_device,
    operator_model,
)

__all__ = [
    "DEVICES",
    "BoardCalibration",
    "Calibration",
    "Device",
    "DeviceFit",
    "OperatorModel",
    "SharedFunction",
    "adopt_device",
    "calibrated_cores",
    "device",
    "device_fits",
    "device_names",
    "load_device",
    "operator_model",
]
