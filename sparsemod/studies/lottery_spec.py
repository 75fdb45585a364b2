"""Lottery experiments as data: presets, plans, pruning rates. Imports no torch."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.networks.plan_text import conv_plan, fc_plan
from sparsemod.spec.parts import DatasetSpec, Part
from sparsemod.spec.teacher import TeacherSpec
from sparsemod.spec.translation import translate


class LotterySpec(Part):
    """A lottery experiment: networks, pruning and training. Equal specs give equal results on the CPU."""

    name: str = Field(description="Preset or title; the files' names begin with it.")
    method: Literal["imp", "osp"] = Field(
        "imp",
        description="imp: train, prune, reset, again. osp: prune the network of the first training by more each time.",
    )
    dataset: DatasetSpec = Field(description="The data, as in a spec.")
    plan_conv: str = Field("", description="Plan of convolutions, such as 64-64-M-128B-A.")
    plan_fc: str = Field("300-100", description="Widths of linear layers; an output layer follows.")
    activation: Literal["relu", "tanh"] = Field("relu", description="Activation after each layer.")
    prune_rate_conv: float = Field(
        0.1, ge=0, lt=1, description="Share of a convolution's weights that a round removes."
    )
    prune_rate_fc: float = Field(
        0.2, ge=0, lt=1, description="The same of linear layers; the output layer loses half of it."
    )
    prune_count: int = Field(3, ge=0, le=100, description="Rounds of pruning.")
    net_count: int = Field(3, ge=1, le=1000, description="Networks, each with a seed of its own.")
    epoch_count: int = Field(20, ge=1, le=100_000, description="Epochs of each training.")
    learning_rate: float = Field(1.2e-3, gt=0, description="Constant learning rate of Adam.")
    batch_size: int = Field(60, ge=1, description="Samples in a step.")
    plot_step: int = Field(100, ge=1, description="Iterations between two points of the histories.")
    rewind: int = Field(
        0,
        ge=0,
        description="Iterations of the first training whose weights the survivors return to; 0: initial.",
    )
    teacher: TeacherSpec | None = Field(
        None, description="A network from which the networks learn, as in a spec's training."
    )
    save_early_stop: bool = Field(True, description="Store the weights of the early-stop iterations.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of weights and order.")

    @model_validator(mode="after")
    def _plans(self) -> "LotterySpec":
        conv_plan(self.plan_conv)
        fc_plan(self.plan_fc)
        return self


_CIFAR = {"dataset": {"name": "cifar10"}, "plan_fc": "256-256"}

PRESETS: dict[str, dict[str, Any]] = {
    "lenet-mnist": {
        "dataset": {"name": "mnist"}, "plan_fc": "300-100", "activation": "tanh", "epoch_count": 55,
        "learning_rate": 1.2e-3,
    },
    "conv2-cifar10": {**_CIFAR, "plan_conv": "64-64-M", "epoch_count": 26, "learning_rate": 2e-4},
    "conv4-cifar10": {**_CIFAR, "plan_conv": "64-64-M-128-128-M", "epoch_count": 33, "learning_rate": 3e-4},
    "conv6-cifar10": {
        **_CIFAR, "plan_conv": "64-64-M-128-128-M-256-256-M", "prune_rate_conv": 0.15, "epoch_count": 40,
        "learning_rate": 3e-4,
    },
    "tiny-cifar10": {
        **_CIFAR, "plan_conv": "8-8-M-8-M", "plan_fc": "300-100", "epoch_count": 30, "learning_rate": 3e-4,
    },
}  # fmt: skip
"""The presets: networks and rates of Frankle and Carbin, 2019; batches of 60, their iterations in whole epochs."""


def lottery_spec(preset: str, method: str, changes: Mapping[str, Any]) -> LotterySpec:
    """Return a preset with other values of some keys. Raises UnknownName for the preset, InvalidInput for a key."""
    if preset not in PRESETS:
        raise UnknownName("preset", preset, list(PRESETS))
    data = {"name": preset, "method": method, **PRESETS[preset], **changes}
    try:
        return LotterySpec.model_validate(data)
    except ValidationError as error:
        found = translate(error, LotterySpec)
        raise InvalidInput(found.field, found.value, found.allowed) from None
