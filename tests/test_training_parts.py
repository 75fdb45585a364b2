"""Optimizers, schedules, augmentations and checkpoints, each by itself."""

import pytest
import torch

from sparsemod.errors import InvalidInput
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.training import augmentation
from sparsemod.training.augmentation import AUGMENTATIONS
from sparsemod.training.checkpoint import pack, unpack
from sparsemod.training.schedules import SCHEDULES, LearningRate


def rates(epochs: int = 10, steps: int = 10, *, name: str, **changes: object) -> list[float]:
    schedule = LearningRate(2.0, SCHEDULES.config(name, **changes), epochs, steps)
    return [schedule.at(step) for step in range(epochs * steps)]


def test_schedules_by_hand() -> None:
    assert rates(name="constant") == [2.0] * 100
    cosine = rates(name="cosine")
    assert cosine[0] == 2.0 and cosine[50] == pytest.approx(1.0) and 0 < cosine[99] < 0.01
    assert cosine == sorted(cosine, reverse=True)
    step = rates(name="step", milestones=(0.5, 0.75), factor=0.1)
    assert step[49] == 2.0 and step[50] == pytest.approx(0.2) and step[75] == pytest.approx(0.02)
    exponential = rates(name="exponential", factor=0.01)
    assert exponential[50] == pytest.approx(0.2) and exponential[99] > 0.02


def test_warmup_is_linear_and_then_the_schedule_starts() -> None:
    found = rates(name="cosine", warmup=2)
    assert found[:20] == pytest.approx([2.0 * (i + 1) / 20 for i in range(20)])
    assert found[20] == 2.0 and found[60] == pytest.approx(1.0)
    everything = rates(name="constant", warmup=50)
    assert everything[-1] == 2.0 and everything[0] == pytest.approx(0.02)


def test_shift_moves_whole_images() -> None:
    (augment,) = augmentation.build([AUGMENTATIONS.config("shift", pixels=1)], (2, 5, 5))
    x = torch.zeros(200, 2, 5, 5)
    x[:, 0, 2, 2], x[:, 1, 2, 2] = 1.0, 2.0
    moved = augment(x, torch.Generator().manual_seed(0))
    assert torch.equal(moved[:, 0] * 2, moved[:, 1]) and torch.equal(moved[:, 0].sum((1, 2)), torch.ones(200))
    places = {(int(i[1]), int(i[2])) for i in moved[:, 0].nonzero()}
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}
    ramp = torch.arange(5.0).expand(50, 2, 5, 5)
    assert set(augment(ramp, torch.Generator())[:, 0, 0].unique().tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_flip_mirrors_a_share() -> None:
    (augment,) = augmentation.build([AUGMENTATIONS.config("flip", probability=0.25)], (1, 2, 3))
    x = torch.arange(6.0).reshape(1, 1, 2, 3).repeat(400, 1, 1, 1)
    flipped = augment(x, torch.Generator().manual_seed(0))
    changed = (flipped != x).flatten(1).any(1)
    assert 60 < int(changed.sum()) < 140
    assert torch.equal(flipped[changed], x[changed].flip(3)) and torch.equal(flipped[~changed], x[~changed])


def test_cutout_clears_a_square() -> None:
    (augment,) = augmentation.build([AUGMENTATIONS.config("cutout", size=3)], (2, 9, 9))
    cut = augment(torch.ones(300, 2, 9, 9), torch.Generator().manual_seed(0))
    cleared = (cut == 0).sum((2, 3))
    assert torch.equal(cleared[:, 0], cleared[:, 1])
    assert int(cleared.max()) == 9 and int(cleared.min()) == 4  # a corner keeps 2 x 2


def test_noise_has_the_deviation_and_works_on_vectors() -> None:
    (augment,) = augmentation.build([AUGMENTATIONS.config("noise", deviation=0.5)], (100,))
    noisy = augment(torch.zeros(400, 100), torch.Generator().manual_seed(0))
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("given", "shape", "field", "message"),
    [
        ({"name": "shift", "pixels": 0}, (1, 4, 4), "0.pixels", "greater than or equal to 1"),
        ({"name": "shift", "pixels": 4}, (1, 4, 4), "0.pixels", "a whole number from 1 to 3"),
        ({"name": "shift", "options": {"pixels": 4}}, (1, 4, 4), "0.pixels", "a whole number from 1 to 3"),
        ({"name": "shift", "pixels": True}, (1, 4, 4), "0.pixels", "a valid integer"),
        ("shift", (4,), "0.name", "works on images"),
        ("flip", (4,), "0.name", "works on images"),
        ({"name": "flip", "probability": 1.5}, (1, 4, 4), "0.probability", "less than or equal to 1"),
        ({"name": "cutout", "size": 9}, (1, 4, 4), "0.size", "a whole number from 1 to 4"),
        ({"name": "noise", "deviation": "much"}, (4,), "0.deviation", "a valid number"),
        ({"name": "noise", "size": 1}, (4,), "0.size", "unknown key; known here: deviation, name"),
        ({"name": "rotate"}, (4,), "0.name", "known: cutout, flip, noise, shift"),
        ({"name": "shfit"}, (4,), "0.name", "did you mean shift?"),
        ({"name": "shift", "version": 2}, (4,), "0.version", "at most 1"),
        (3, (4,), "0", "a mapping with the key 'name', or the name of the augmentation"),
    ],
)
def test_bad_augmentations_name_key_and_range(
    given: object, shape: tuple[int, ...], field: str, message: str
) -> None:
    spec = {
        "dataset": {"name": "digits"},
        "network": {"family": "mlp"},
        "training": {"augmentation": [given]},
    }
    with pytest.raises(InvalidInput) as caught:
        augmentation.build(ExperimentSpec.parse(spec).training.augmentation, shape)
    assert caught.value.field == f"training.augmentation.{field}"
    assert message in caught.value.allowed


def test_checkpoints_round_trip_and_are_repeatable() -> None:
    state = {
        "numbers": {"a": 1, "b": 0.1, "c": None, "d": [1, "x", True]},
        "tensors": {
            "half": torch.randn(3).half(),
            "last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
            "count": torch.tensor(7),
            "flags": torch.tensor([True, False]),
        },
        "none": {},
    }
    content = pack(state)
    found = unpack(content)
    assert content == pack(state) and found["numbers"] == state["numbers"] and found["none"] == {}
    for name, tensor in state["tensors"].items():
        assert torch.equal(found["tensors"][name], tensor) and found["tensors"][name].dtype == tensor.dtype


@pytest.mark.parametrize("state", [{"a/b": 1}, {"a": object()}, {"a": {1: 2}}])
def test_values_that_cannot_be_packed(state: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="checkpoint"):
        pack(state)
