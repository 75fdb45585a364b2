"""What methods that prune single weights promise, against values computed another way."""

from types import SimpleNamespace

import pytest
import torch
from support_pruning import Mlp, Plain, begun, context, seeded
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.graph import capture
from sparsemod.pruning import METHODS
from sparsemod.pruning.weights import prunable_weights
from sparsemod.pruning.weights.allocation import apportion, erdos_renyi


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_apportioning_is_exact_and_leaves_a_weight_everywhere() -> None:
    assert apportion([10, 10, 10], [1, 1, 1], 15) == [5, 5, 5]
    assert apportion([3, 100], [1, 1], 50) == [1, 49] and apportion([3, 100], [1, 1], 102) == [2, 99]
    assert apportion([5, 7, 9], [0, 1, 1], 8) == [0, 4, 4]
    assert sum(apportion([17, 23, 31], [1, 1, 1], 40)) == 40


def test_erdos_renyi_keeps_small_layers_dense() -> None:
    shapes = {"wide": (256, 256, 3, 3), "small": (16, 3, 3, 3)}
    gone = erdos_renyi(shapes, 0.9)
    assert gone["small"] == 0
    left = (1 - gone["wide"]) * 256 * 256 * 9 + 16 * 27
    assert left == pytest.approx(0.1 * (256 * 256 * 9 + 16 * 27))


@pytest.mark.parametrize("scope", ["global", "layer", "uniform"])
def test_magnitude_keeps_the_largest_within_its_scope(scope: str) -> None:
    module = seeded(Plain)
    before = {name: w.detach().clone().abs() for name, w in prunable_weights(module).items()}
    method = begun("magnitude", module, Plain.shape, sparsity=0.5, scope=scope)
    method.before_epoch(1, 1)
    for name, mask in method.masks.items():
        kept, gone = before[name][mask], before[name][~mask]
        assert gone.numel() == 0 or gone.max() <= kept.max()
        if scope != "global":
            assert gone.numel() == 0 or gone.max() <= kept.min()
        if scope == "uniform":
            assert abs((~mask).float().mean() - 0.5) <= 1 / mask.numel()


def test_snip_scores_are_the_weights_times_their_gradients() -> None:
    method = begun("snip", module := seeded(Mlp), Mlp.shape)
    gradients = method.context.gradients()
    for name, score in method.scores(0.5).items():
        torch.testing.assert_close(score, (module.get_parameter(name) * gradients[name]).abs().detach())


def test_grasp_scores_are_the_change_of_the_gradients_norm() -> None:
    """(norm after w -> w (1 + e)) - (norm after w -> w (1 - e)), over 4 e, is w x (H g) of that weight."""
    method = begun("grasp", module := seeded(Mlp), Mlp.shape)
    held = method.context
    module.double()
    x, y = held.samples.slice(0, 16)
    x = x.double()
    method.context = SimpleNamespace(module=module, loss=held.loss, batches=lambda size: iter([(x, y)]))
    weight = module.get_parameter("0.weight")

    def norm() -> float:
        loss = held.loss(module(x), y)
        names = [module.get_parameter(name) for name in prunable_weights(module)]
        return float(torch.stack([g.square().sum() for g in torch.autograd.grad(loss, names)]).sum())

    found = method.scores(0.5)["0.weight"] / len(y)
    for place in ((0, 0), (3, 5), (7, 2)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                kept = weight[place].clone()
                weight[place] = kept * (1 + sign * 1e-6)
            values.append(norm())
            with torch.no_grad():
                weight[place] = kept
        assert float(found[place]) == pytest.approx((values[0] - values[1]) / 4e-6, rel=1e-3, abs=1e-9)


def test_synflow_cuts_no_layer_off_at_high_sparsity() -> None:
    module = seeded(Plain)
    method = begun("synflow", module, Plain.shape, sparsity=0.97)
    method.before_epoch(1, 1)
    x = torch.ones(1, *Plain.shape)
    flow = seeded(Plain)
    for name, mask in method.masks.items():
        with torch.no_grad():
            flow.get_parameter(name).abs_().mul_(mask)
    with torch.no_grad():
        assert float(flow(x).std()) > 0
    assert len({name for name, mask in method.masks.items() if mask.any()}) == len(method.masks)


def test_a_dead_input_makes_its_weights_the_first_to_go_for_sipp() -> None:
    module = seeded(Mlp)
    method = METHODS.create(METHODS.config("sipp", sparsity=0.1))
    held = context(module, Mlp.shape, samples=16)
    held.samples.slice(0, 16)[0][:, :3] = 0
    method.start(held)
    method.before_epoch(1, 1)
    gone = ~method.masks["0.weight"]
    assert gone[:, :3].sum() > 0.9 * gone.sum()


def test_movement_keeps_what_moves_away_from_zero() -> None:
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    method = begun("movement", module, (4,), sparsity=0.5, scope="uniform")
    with torch.no_grad():
        module[0].weight.fill_(1.0)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    module[0].weight.grad[:2] = -1.0  # descent makes these larger
    module[0].weight.grad[2:] = 1.0
    method.after_step()
    method.before_epoch(1, 1)
    assert method.masks["0.weight"][:2].all() and not method.masks["0.weight"][2:].any()


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (3, 8)])
def test_n_of_m_holds_in_every_block_in_the_order_of_the_c(n: int, m: int) -> None:
    module = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 10))
    method = begun("n_of_m", module, (8, 4, 4), n=n, m=m)
    plan = method.plan(capture(module, (8, 4, 4)), 0.0)
    method.before_epoch(1, 1)
    rows = module[0].weight.detach().permute(0, 2, 3, 1).reshape(6, -1, m)
    assert (rows.ne(0).sum(2) == n).all()
    assert plan.zeros == sum(int((w == 0).sum()) for w in prunable_weights(module).values())
    assert method.sparsity == pytest.approx(1 - n / m) == method.config.sparsity
    with pytest.raises(InvalidInput, match="at most m"):
        METHODS.config("n_of_m", n=5, m=4)
