"""What is calibrated for a core: instructions of its kernels, bytes of their code, stack."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Coefficient = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Calibration(_Frozen):
    """How a model was fitted, and how far it is off on networks that were not used in the fit.

    Errors are mean relative errors (0.03: 3 %); `worst` the largest one of instructions; `tau` is Kendall's rank correlation of predicted and
    measured instructions; `ram` is the mean relative error of static RAM and stack.
    """

    networks: Annotated[int, Field(ge=1)] = Field(description="Networks of the fit.")
    held_out: Annotated[int, Field(ge=1)] = Field(description="Networks that were kept apart to judge it.")
    instructions: Share
    worst: Share
    flash: Share
    ram: Share
    tau: Annotated[float, Field(ge=-1, le=1)]
    date: str
    compiler: str
    qemu: str
    command: str
    kernels: str = Field(description="Digest of the kernels' sources that it was fitted to.")


class OperatorModel(_Frozen):
    """Instructions, code bytes and stack of this project's kernels on one core.

    A layer runs one kernel; its instructions are the sum of feature x coefficient over the features of `sparsemod.measure.work`. Flash is the
    network's constants + per layer + per kernel that is used at least once + a base; the stack is that of the deepest layer.
    """

    core: str = Field(min_length=1, description="The core it was fitted for.")
    instructions: dict[str, dict[str, Coefficient]] = Field(
        description="Kernel -> feature -> instructions per unit of it."
    )
    code: dict[str, Coefficient] = Field(
        description="Bytes of code once per network that uses it: kernel -> bytes; `base` is always there."
    )
    layer_code: dict[str, Coefficient] = Field(
        description="Bytes for each layer: kernel -> bytes of its call and parameters."
    )
    stack: dict[str, Coefficient] = Field(
        description="Bytes of stack below network_run: kernel, or kernel and reader of its weights -> bytes; `base` always."
    )
    calibration: Calibration | None = None
