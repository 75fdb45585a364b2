"""The calibrated model of a core: instructions, code bytes and stack of the kernels."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Coefficient = Annotated[float, Field(ge=0)]
Part = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Calibration(_Frozen):
    """How a model was fitted, and its errors on networks outside the fit.

    `instructions`, `flash` and `ram` (static RAM and stack) are mean relative errors (0.03: 3 %). `worst` is
    the largest error of instructions. `tau` is Kendall's rank correlation of predicted and measured
    instructions.
    """

    networks: Annotated[int, Field(ge=1)] = Field(description="Number of networks in the fit.")
    held_out: Annotated[int, Field(ge=1)] = Field(description="Number of held-out networks for the errors.")
    instructions: Share
    worst: Share
    flash: Share
    ram: Share
    tau: Annotated[float, Field(ge=-1, le=1)]
    date: str
    compiler: str
    qemu: str
    command: str
    kernels: str = Field(description="Digest of the kernel sources used in the fit.")


class SharedFunction(_Frozen):
    """A function of which a program holds one copy, however many kernels call it."""

    bytes: int = Field(ge=0, description="Bytes of its code.")
    callers: list[str] = Field(
        description="Kernels, readers of weights, and parts of generated kernels, each of which needs the function."
    )


class OperatorModel(_Frozen):
    """Instructions, code bytes and stack of this project's kernels on one core.

    A layer runs one kernel; its instructions are the sum of feature x coefficient over the features of
    `sparsemod.measure.work`. Flash is the sum of the network's constants, bytes per layer, bytes per used
    kernel, and a base. The stack is that of the deepest layer.
    """

    core: str = Field(min_length=1, description="The core of the fit.")
    instructions: dict[str, dict[str, Coefficient]] = Field(
        description="Kernel -> feature -> instructions per unit of the feature."
    )
    code: dict[str, Coefficient] = Field(
        description="Kernel -> bytes of code, once per network that uses it; `base` is always included."
    )
    functions: dict[str, SharedFunction] = Field(
        default_factory=dict,
        description="Function -> its bytes, which the coefficients of its callers do not hold.",
    )
    layer_code: dict[str, Part] = Field(
        description="Kernel -> bytes of call and parameters for each layer; generated kernel and part -> bytes of code, negative where a part saves some."
    )
    stack: dict[str, Coefficient] = Field(
        description="Kernel, or kernel and weight reader -> bytes of stack below network_run; `base` is always added."
    )
    calibration: Calibration | None = None
