import pytest
import torch
from support_pruning import Mlp, Plain, seeded, started
from torch import nn

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.pruning import METHODS


def test_mistakes_are_named():
    with pytest.raises(InvalidInput, match=r"pruning\.sparsity = 1\.0"):
        METHODS.config("magnitude", sparsity=1.0)
    with pytest.raises(UnknownName, match=r"known: filters, magnitude, none; did you mean magnitude\?"):
        METHODS.get("magnitud")
    pruner = started("magnitude", 0.5, seeded(Mlp), Mlp.shape)
    with pytest.raises(InvalidInput, match=r"before sparsity 0.5"):
        pruner.finish()
    with pytest.raises(InvalidInput, match="epoch"):
        pruner.before_epoch(0, 3)
    other = started("magnitude", 0.5, seeded(Plain), Plain.shape)
    with pytest.raises(InvalidInput, match="masks of this network"):
        other.load_state_dict(pruner.state_dict())


def test_masks_hold_in_channels_last_memory():
    module = seeded(Plain).to(memory_format=torch.channels_last)
    plain = seeded(Plain)
    for each in (module, plain):
        pruner = started("magnitude", 0.7, each, Plain.shape)
        pruner.before_epoch(1, 1)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), plain.parameters(), strict=True))


def test_a_network_with_nothing_to_prune_is_at_its_target():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    pruner = started("filters", 0.5, module, (1, 2, 2))
    assert pruner.at_target and pruner.sparsity == 0
    assert pruner.frozen == {"1": "coupled to the network's output"}
