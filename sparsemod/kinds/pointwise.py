"""Kinds that work on each element by itself: activations and addition."""

from sparsemod.kinds.kind import KINDS, Kind

_ACTIVATION = {"elementwise": True, "clamps_early": True, "keeps_scale": True, "in_place": True}

for _name in ("relu", "relu6"):
    KINDS.add(_name, Kind(_name, _name, layer="clamp", activation=_name, **_ACTIVATION))  # type: ignore[arg-type]
KINDS.add(
    "clamp",
    Kind(
        "clamp",
        "an activation that no other layer could take in",
        captured=False,
        deployed=False,
        **_ACTIVATION,
    ),
)  # type: ignore[arg-type]
KINDS.add("add", Kind("add", "addition", inputs=2, elementwise=True, fuses_activation=True))
