"""Elementwise kinds: activations and addition."""

from sparsemod.kinds.kind import KINDS, Kind


def _activation(name: str, title: str, activation: str | None, captured: bool) -> Kind:
    return Kind(
        name, title, layer="clamp", elementwise=True, clamps_early=True, keeps_scale=True, in_place=True,
        activation=activation, rows_outside="none", captured=captured, deployed=captured,
    )  # fmt: skip


KINDS.add("relu", _activation("relu", "relu", "relu", True))
KINDS.add("relu6", _activation("relu6", "relu6", "relu6", True))
# the integer layer of both relu and relu6
KINDS.add("clamp", _activation("clamp", "an activation that no other layer could take in", None, False))
KINDS.add(
    "add",
    Kind("add", "addition", inputs=2, elementwise=True, fuses_activation=True, rows_outside="none"),
)
