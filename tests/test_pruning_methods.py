"""What single pruning methods promise, against values computed another way."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support_pruning import MODULES, Mlp, Plain, Residual, Shared, context, seeded
from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.graph import capture
from sparsemod.pruning import METHODS
from sparsemod.pruning.channels import channels_of
from sparsemod.pruning.filters.allocation import Counter, equal_shares
from sparsemod.pruning.low_rank.allocation import Option, allocate, best_trade, cheapest_within, frontier
from sparsemod.pruning.low_rank.folding import SCHEMES, decompose, distinct_schemes, fold, largest_rank
from sparsemod.pruning.low_rank.layers import Decomposed, source_of
from sparsemod.pruning.low_rank.spectra import operator_errors
from sparsemod.pruning.patches import layer_patches
from sparsemod.pruning.weights import prunable_weights
from sparsemod.pruning.weights.allocation import apportion, erdos_renyi


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def begun(name: str, module: nn.Module, shape: tuple[int, ...], samples: int = 16, **keys: Any) -> Any:
    method = METHODS.create(METHODS.config(name, **keys))
    method.start(context(module, shape, samples=samples))
    return method


# -- weights ---------------------------------------------------------------------------------------------------------------------


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


# -- filters ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
def test_a_share_of_the_weights_is_the_nearest_that_equal_shares_reach(kind: Any, sparsity: float) -> None:
    module = seeded(kind)
    graph = capture(module, kind.shape)
    counter = Counter(graph, channels := channels_of(graph, module.state_dict()))
    assert counter.weights == sum(w.numel() for w in prunable_weights(module).values())
    kept = equal_shares(counter, sparsity, "weights")
    wanted = (1 - sparsity) * counter.weights
    reachable = [
        counter.weights_with(equal_shares(counter, gone / size, "filters"))
        for size in {len(group.units) for group in channels.groups}
        for gone in range(size)
    ]
    assert abs(counter.weights_with(kept) - wanted) == min(abs(count - wanted) for count in reachable)


@pytest.mark.parametrize("name", ["pfp", "thinet"])
def test_a_channel_that_nobody_reads_goes_first(name: str) -> None:
    module = seeded(Plain)
    with torch.no_grad():
        module[4].weight[:, [1, 4, 8]] = 0
        module[1].bias.fill_(9.0)  # every channel is alive
    method = begun(name, module, Plain.shape, sparsity=0.3)
    method.before_epoch(1, 1)
    gone = (~method.masks["0.weight"].flatten(1).any(1)).nonzero().flatten().tolist()
    assert {1, 4, 8} <= set(gone) if len(gone) >= 3 else set(gone) <= {1, 4, 8}


def test_thinet_removes_channels_as_an_exhaustive_search_does_one_by_one() -> None:
    from sparsemod.pruning.filters.thinet import _order

    x = torch.randn(40, 5, dtype=torch.float64)
    order = _order(x.T @ x, torch.zeros(5, dtype=torch.bool)).argsort().tolist()
    gone: list[int] = []
    for _ in range(5):
        left = [c for c in range(5) if c not in gone]
        gone.append(min(left, key=lambda c: float(x[:, [*gone, c]].sum(1).square().sum())))
    assert order == gone


def test_fpgm_removes_the_filter_between_the_others() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with torch.no_grad():
        module[0].weight[:, 0, 0, 0] = torch.tensor([-3.0, 1.0, 1.2, 4.0])
    method = begun("fpgm", module, (1, 4, 4), sparsity=0.5)
    method.before_epoch(1, 1)
    assert method.masks["0.weight"].flatten().tolist() == [True, False, False, True]


def test_the_scale_of_the_norm_decides_and_shrinks() -> None:
    module = seeded(Residual)
    with torch.no_grad():
        module.norm.weight.copy_(torch.tensor([3.0, 0.1, 2.0, 0.2, 1.0, 0.3, 4.0, 0.4]))
        module.behind.weight.copy_(module.norm.weight)
    method = begun("norm_scale", module, Residual.shape, sparsity=0.5, shrink=0.01)
    method.after_step()
    assert float(module.norm.weight[1].detach()) == pytest.approx(0.09)
    method.before_epoch(1, 1)
    assert method.masks["stem.weight"].flatten(1).any(1).tolist() == [True, False] * 4


def test_soft_filters_may_grow_again_until_the_schedule_ends() -> None:
    module = seeded(Plain)
    method = begun("soft_filters", module, Plain.shape, sparsity=0.5)
    method.before_epoch(4, 8)
    weight = module[0].weight
    gone = weight.flatten(1).eq(0).all(1)
    assert gone.any() and method.sparsity == 0
    with torch.no_grad():
        weight[gone] = 9.0
    method.after_step()
    assert not weight.flatten(1).eq(0).all(1).any()
    method.before_epoch(8, 8)
    assert method.masks["0.weight"].flatten(1).any(1)[gone].all() and method.at_target


# -- low rank --------------------------------------------------------------------------------------------------------------------

CONVS = [
    nn.Conv2d(6, 8, 3, padding=1),
    nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 2), bias=False),
    nn.Conv2d(6, 4, 3, dilation=2, padding="same"),
    nn.Conv2d(6, 9, 1, stride=2),
    nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"),
    nn.Conv1d(6, 8, 5, stride=2, padding=2),
    nn.Linear(6, 8),
]


@pytest.mark.parametrize("layer", CONVS, ids=str)
def test_a_chain_of_full_rank_is_the_layer_itself(layer: Any) -> None:
    source = source_of("layer", layer)
    x = torch.randn(2, 6, *(12,) * source.axes) if source.axes else torch.randn(3, 6)
    for scheme, splits in itertools.product(
        distinct_schemes(source.shape), (1, 2, 3) if source.axes else (1,)
    ):
        rank = largest_rank(source.shape, scheme, splits)
        chain = Decomposed(layer, decompose(source.weight, scheme, splits, rank), {})
        with torch.no_grad():
            torch.testing.assert_close(chain(x), layer(x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(chain.product(), layer.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cp", "tucker", "tensor_train", "messi", "pca", "alds"])
@pytest.mark.parametrize("layer", CONVS, ids=str)
def test_a_chain_computes_what_its_product_does(name: str, layer: Any) -> None:
    source = source_of("layer", layer)
    method = METHODS.create(METHODS.config(name))
    method.context = context(nn.Linear(2, 2), (2,))
    options = method.options(source)
    for option in (options[0], options[len(options) // 2], options[-1]):
        recipe = option.recipe
        if name == "messi":
            recipe = {**recipe, "cluster": method._clustered(source, recipe, False)}
        chain = Decomposed(layer, method.factors(source, recipe), recipe)
        assert chain.size == option.cost
        x = torch.randn(2, 6, *(12,) * source.axes) if source.axes else torch.randn(3, 6)
        whole = chain.product()
        found = chain(x)
        kept, layer.weight = layer.weight, nn.Parameter(whole)
        with torch.no_grad():
            torch.testing.assert_close(found, layer(x), rtol=1e-3, atol=1e-3)
        layer.weight = kept


def test_more_rank_is_less_error_for_every_decomposition() -> None:
    layer = nn.Conv2d(8, 10, 3)
    source = source_of("layer", layer)
    for name in ("cp", "tucker", "tensor_train", "svd", "pca"):
        method = METHODS.create(METHODS.config(name))
        options = frontier(method.options(source))
        errors = [
            float(
                (
                    Decomposed(layer, method.factors(source, o.recipe), {}).product() - layer.weight.detach()
                ).norm()
            )
            for o in (options[0], options[len(options) // 2], options[-1])
        ]
        assert errors == sorted(errors, reverse=True) and errors[-1] < 0.5 * errors[0], name


def objective(module: nn.Module, original: nn.Module) -> float:
    """The largest relative spectral error over the layers that have become chains."""
    errors = [0.0]
    for path, chain in module.named_modules():
        if isinstance(chain, Decomposed):
            weight = original.get_submodule(path).weight.detach().double()
            weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.dim()))
            left = fold(weight - chain.product().double().reshape(weight.shape), 0)
            errors.append(
                float(torch.linalg.matrix_norm(left, 2) / torch.linalg.matrix_norm(fold(weight, 0), 2))
            )
    return max(errors)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sparsity", [0.3, 0.6])
def test_alds_beats_a_constant_rank_on_its_own_objective(seed: int, sparsity: float) -> None:
    found = {}
    for name in ("alds", "svd"):
        module, original = seeded(Residual, seed), seeded(Residual, seed)
        for part in (module, original):
            with torch.no_grad():  # layers whose spectra differ, as after training
                part.second.weight[:] = part.second.weight[:1] + 0.05 * part.second.weight
        method = begun(name, module, Residual.shape, sparsity=sparsity)
        method.before_epoch(1, 1)
        assert abs(method.sparsity - sparsity) < 0.05
        found[name] = objective(module, original)
    assert found["alds"] < found["svd"]


def test_the_bound_of_the_error_holds_for_groups_of_channels() -> None:
    source = source_of("layer", nn.Conv2d(6, 8, 3))
    for scheme, splits, rank in itertools.product(SCHEMES, (1, 2, 3), (1, 3)):
        rank = min(rank, largest_rank(source.shape, scheme, splits))
        layer = nn.Conv2d(6, 8, 3)
        chain = Decomposed(layer, decompose(source.weight, scheme, splits, rank), {})
        left = torch.linalg.matrix_norm(fold(source.weight - chain.product().double(), scheme), 2)
        error = float(left / torch.linalg.matrix_norm(fold(source.weight, scheme), 2))
        bound = operator_errors(source, scheme, splits)[rank]
        assert error <= bound + 1e-6
        if splits == 1:
            assert error == pytest.approx(bound, rel=1e-4)


def test_allocation_minimizes_the_largest_loss_under_the_budget() -> None:
    generator = torch.Generator().manual_seed(0)
    layers = []
    for _ in range(3):
        costs = (torch.rand(4, generator=generator) * 10).ceil().int().tolist()
        losses = torch.rand(4, generator=generator).tolist()
        layers.append(
            frontier([Option(12, 0.0), *(Option(c, v, {"c": c}) for c, v in zip(costs, losses, strict=True))])
        )
    for budget in range(6, 37, 3):
        levels = sorted({o.loss for options in layers for o in options})
        found = allocate(layers, budget, cheapest_within, levels)
        every = [choice for choice in itertools.product(*layers) if sum(o.cost for o in choice) <= budget]
        if every and sum(o.cost for o in found) <= budget:
            assert max(o.loss for o in found) <= min(max(o.loss for o in choice) for choice in every) + 1e-12
    assert best_trade(layers[0], 0.0).loss == 0 and best_trade(layers[0], 1e9).cost == layers[0][0].cost


def test_learned_ranks_draw_the_training_towards_low_rank() -> None:
    module = seeded(Plain)
    method = begun("learned_rank", module, Plain.shape, sparsity=0.5, penalty=0.5, schedule="one-shot")
    source = source_of("w", module[4])
    before = operator_errors(source, 1, 1)
    method.before_epoch(1, 10)
    for _ in range(30):
        method.after_step()
    after = operator_errors(source_of("w", module[4]), 1, 1)
    assert sum(after) < sum(before)


def test_a_layer_used_twice_becomes_one_chain_with_the_planned_shapes() -> None:
    module = seeded(Shared)
    method = METHODS.create(METHODS.config("svd", sparsity=0.4))
    plan = method.plan(capture(module, Shared.shape), 0.4)
    method.start(context(module, Shared.shape))
    method.before_epoch(1, 1)
    assert isinstance(module.twice, Decomposed)
    assert dict(plan.graph.shapes) == dict(capture(module, Shared.shape).shapes)


def test_a_chain_is_decomposed_again_and_its_whole_weight_is_what_others_inherit() -> None:
    module = seeded(Plain)
    names = set(module.state_dict())
    method = begun("svd", module, Plain.shape, sparsity=0.3)
    method.before_epoch(1, 1)
    whole = method.whole_state(module)
    assert set(whole) == names and whole["4.weight"].shape == (7, 10, 3, 3)
    method.finish()
    again = begun("svd", module, Plain.shape, sparsity=0.6)
    again.before_epoch(1, 1)
    assert again.sparsity == pytest.approx(0.6, abs=0.05)
    assert not any(
        isinstance(inner, Decomposed) for m in module.modules() if isinstance(m, Decomposed) for inner in m
    )


@pytest.mark.parametrize("kind", [Plain, Residual, Shared, Mlp])
def test_patches_times_weights_are_the_layers_outputs(kind: Any) -> None:
    module = seeded(kind)
    outputs: dict[str, list[Tensor]] = {}
    names = list(prunable_weights(module))
    for name in names:
        layer = module.get_submodule(name.rpartition(".")[0])
        layer.register_forward_hook(
            lambda _m, _i, out, name=name: outputs.setdefault(name, []).append(out.detach())
        )
    held = context(module, kind.shape, samples=4)
    found = layer_patches(module, held.batches(), names, 4, 10**6, 0)
    for name in names:
        layer: Any = module.get_submodule(name.rpartition(".")[0])
        expected = torch.cat([o.movedim(1, -1).reshape(-1, o.shape[1]) for o in outputs[name]])
        result = found[name].outputs(layer.weight)
        if layer.bias is not None:
            result = result + layer.bias
        torch.testing.assert_close(result.sort(0).values, expected.sort(0).values, rtol=1e-4, atol=1e-4)
