"""Published training schedules by name, for `training.preset`."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

Preset = Literal["wrn", "darts", "imagenet"]

_SGD = {"name": "sgd", "momentum": 0.9}

PRESETS: dict[str, dict[str, Any]] = {
    "wrn": {
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "batch_size": 128,
        "optimizer": _SGD,
        "schedule": {"name": "step", "milestones": [0.3, 0.6, 0.8], "factor": 0.2},
        "augmentation": [{"name": "shift", "pixels": 4}, {"name": "flip"}, {"name": "cutout", "size": 16}],
    },
    "darts": {
        "learning_rate": 0.025,
        "weight_decay": 3e-4,
        "batch_size": 96,
        "optimizer": _SGD,
        "schedule": {"name": "cosine"},
        "augmentation": [{"name": "shift", "pixels": 4}, {"name": "flip"}, {"name": "cutout", "size": 16}],
        "drop_path": 0.2,
        "auxiliary": 0.4,
    },
    "imagenet": {
        "learning_rate": 0.1,
        "weight_decay": 1e-4,
        "batch_size": 256,
        "optimizer": _SGD,
        "schedule": {"name": "step", "milestones": [0.3333, 0.6667], "factor": 0.1},
        "augmentation": [{"name": "flip"}],
    },
}
"""The keys of `training` that a preset sets; keys of the spec take precedence.

Epochs are those of the experiment: published are 200 (wrn), 600 (darts) and 90 (imagenet).
"""


def with_preset(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a spec's plain data with the keys of its preset in `training`, where it has no key of its own."""
    training = spec.get("training")
    if not isinstance(training, Mapping) or training.get("preset") not in get_args(Preset):
        return spec
    return {**spec, "training": {**PRESETS[training["preset"]], **training}}
