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

    network: Name | None = Field(
        None, description="A network of the zoo, such as wrn-16-2, with `weights` or `epochs`."
    )
    weights: str | None = Field(
        None, description="File of the network's weights, .safetensors with the module's names."
    )
    epochs: int | None = Field(
        None,
        ge=1,
        description="Train the network for this many epochs first, with the settings of `training`; each process does so once.",
    )
    run: str | None = Field(None, description="Folder of a local run, with `trial`.")
    trial: int | None = Field(None, ge=0, description="The trial of `run` whose trained network teaches.")
    temperature: float = Field(4.0, gt=0, description="Temperature of the softmax of both networks' outputs.")
    alpha: float = Field(0.0, ge=0, le=1, description="Share of the loss on the teacher's outputs.")
    beta: float = Field(1e3, ge=0, description="Weight of attention transfer.")
    taps: tuple[Name, ...] | None = Field(
        None,
        description="Layers whose outputs attention transfer compares: `layer` of both networks, or `layer=layer of the teacher`. Default: those that both networks name, in order.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.network is None) == (self.run is None):
            raise ValueError("either network (with weights or epochs) or run (with trial) is needed")
        if self.network is not None and (self.weights is None) == (self.epochs is None):
            raise ValueError("network needs either weights or epochs")
        if (self.run is None) != (self.trial is None):
            raise ValueError("run and trial are needed together")
        if self.run is not None and (self.weights, self.epochs) != (None, None):
            raise ValueError("weights and epochs go with network, not with run")
        if self.alpha == 0 and self.beta == 0:
            raise ValueError("alpha or beta must be above 0, or the teacher has no effect")
        if self.taps is not None and self.beta == 0:
            raise ValueError("taps need beta above 0")
        return self

    def pairs(self) -> tuple[tuple[str, str], ...] | None:
        """Return (layer, teacher's layer) of each tap, or None for the networks' own."""
        if self.taps is None:
            return None
        return tuple((a, b or a) for a, _, b in (tap.partition("=") for tap in self.taps))
