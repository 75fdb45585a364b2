"""The spec's `training.teacher`: a network from which another one learns."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(min_length=1, max_length=200)]


class TeacherSpec(BaseModel):
    """A teacher and the weights of its losses.

    The loss is (1 - alpha) x the loss on the labels + alpha x temperature^2 x KL divergence of the softened outputs
    + beta / taps x mean squared difference of the attention maps at the taps. An attention map is the mean over
    channels of the squared activations, with length 1. Sources: Hinton et al., "Distilling the knowledge in a neural
    network", 2015; Zagoruyko and Komodakis, "Paying more attention to attention", 2017.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    network: Name = Field(
        description="A network of the zoo, such as `wrn-16-2`, or `FOLDER#TRIAL`: the trained network of a trial in the folder of a local run."
    )
    weights: str | None = Field(
        None,
        description="File with the weights of the zoo's network, .safetensors with the names of its layers. Default: train it first, once in each process.",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        description="Epochs of this training, with the settings of `training`. Default: those of the trial.",
    )
    temperature: float = Field(4.0, gt=0, description="Temperature of the softmax of both networks' outputs.")
    alpha: float = Field(0.0, ge=0, le=1, description="Share of the loss on the teacher's outputs.")
    beta: float = Field(1e3, ge=0, description="Weight of attention transfer.")
    taps: tuple[Name, ...] | None = Field(
        None,
        description="Layers whose outputs attention transfer compares: `layer` of both networks, or `layer=layer of the teacher`. Default: those that both networks name, in order.",
    )

    @model_validator(mode="after")
    def _of_trial(self) -> Self:
        folder, trial = self.place()
        if trial is not None and (self.weights, self.epochs) != (None, None):
            raise ValueError(f"weights and epochs go with a network of the zoo; {self.network} is a trial")
        if trial is not None and not (folder and trial.isdecimal()):
            raise ValueError(f"{self.network!r} is neither a network of the zoo nor FOLDER#TRIAL")
        return self

    def place(self) -> tuple[str, str | None]:
        """Return folder and trial, or the zoo's name and None."""
        folder, mark, trial = self.network.rpartition("#")
        return (folder, trial) if mark else (self.network, None)

    def pairs(self) -> tuple[tuple[str, str], ...] | None:
        """Return (layer, teacher's layer) of each tap, or None for the networks' own."""
        if self.taps is None:
            return None
        return tuple((a, b or a) for a, _, b in (tap.partition("=") for tap in self.taps))
