"""Weight decay of compressed weights: scaled by the compression ratio of the network, by groups that a note shows."""

import copy

import pytest
import torch
from support_training import digits
from torch import nn

from sparsemod.spec.training import TrainingSpec
from sparsemod.substitutes import SUBSTITUTES, substitute
from sparsemod.substitutes.published import bare
from sparsemod.training import train
from sparsemod.training.optimizers import build, decay_groups, decay_note


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def test_the_published_decay_of_shuffle_4():
    module = copy.deepcopy(bare("wrn-28-10", "cifar10"))
    substitute(module, "Shuffle_4")
    groups = decay_groups(module, TrainingSpec(weight_decay=5e-4))
    plain, scaled, none = groups
    assert (plain, none) == (5e-4, 0.0)
    assert scaled == pytest.approx(1.129e-5, rel=1e-3) == 5e-4 * 823_674 / 36_479_194
    kept = sum(p.numel() for p in groups[plain])
    assert kept == 3 * 16 * 9 + 16 * 160 + 160 * 320 + 320 * 640 + 640 * 10  # stem, shortcuts, classifier


@pytest.mark.parametrize(
    "name", ["Hashed_0.5", "SepHashed_0.5", "Generic_0.5", "ACDC_4", "TensorTrain_0.5", "Tucker_0.5"]
)
def test_compressed_weights_have_a_group_of_their_own(name):
    module = net()
    before = sum(p.numel() for p in module.parameters())
    substitute(module, name)
    ratio = sum(p.numel() for p in module.parameters()) / before
    layer = module[3]
    compressed = {
        id(p) for n, p in layer.named_parameters() if "depthwise" not in n and not n.endswith("bias")
    }
    for choice, scaled in (
        ("on", True),
        ("off", False),
        ("auto", SUBSTITUTES.get(name.split("_")[0]).scales_decay),
    ):
        groups = decay_groups(module, TrainingSpec(weight_decay=0.1, scale_decay=choice))
        wanted = 0.1 * ratio if scaled else 0.1
        found = next(decay for decay, tensors in groups.items() if compressed & {id(t) for t in tensors})
        assert found == pytest.approx(wanted)
        assert compressed <= {id(t) for t in groups[found]}
        assert sum(len(tensors) for tensors in groups.values()) == len(list(module.parameters()))


def test_without_compression_the_decay_is_the_plain_one():
    for name in ("none", "Conv", "Sep"):
        module = net()
        substitute(module, name)
        groups = decay_groups(module, TrainingSpec(weight_decay=0.1))
        assert list(groups) == [0.1, 0.0]
        assert decay_note(module, TrainingSpec(weight_decay=0.1)) is None


def test_the_groups_are_shown_and_reach_the_optimizer():
    module = net()
    substitute(module, "Generic_0.25")
    settings = TrainingSpec(weight_decay=0.1, batch_size=100)
    groups = {group["weight_decay"]: group["params"] for group in build(module, settings).param_groups}
    assert len(groups) == 3
    (note,) = train(module, digits(), settings, epochs=1, seed=0).notes
    assert note.startswith("weight decay: 0.1 on ") and note.count("parameters") == 3
    assert train(module, digits(), TrainingSpec(batch_size=100), epochs=1, seed=0).notes == ()
