"""What low-rank methods promise, against values computed another way."""

import itertools
from typing import Any

import pytest
import torch
from support_pruning import Mlp, Plain, Residual, Shared, begun, context, seeded
from torch import Tensor, nn

from sparsemod.graph import capture
from sparsemod.pruning import METHODS
from sparsemod.pruning.low_rank.allocation import Option, allocate, best_trade, cheapest_within, frontier
from sparsemod.pruning.low_rank.folding import SCHEMES, decompose, distinct_schemes, fold, largest_rank
from sparsemod.pruning.low_rank.layers import Decomposed, source_of
from sparsemod.pruning.low_rank.spectra import operator_errors
from sparsemod.pruning.patches import layer_patches
from sparsemod.pruning.weights import prunable_weights


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


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


@pytest.mark.parametrize("name", ["cp", "tucker", "tensor_train", "svd", "alds"])
@pytest.mark.parametrize("layer", [nn.Linear(96, 6), nn.Linear(6, 96), nn.Conv2d(96, 4, (1, 3))], ids=str)
def test_no_weight_of_a_chain_is_dead(name: str, layer: Any) -> None:
    # Ranks above those of the layer add rows and columns that are zero and get no gradient.
    source = source_of("layer", layer)
    method = METHODS.create(METHODS.config(name))
    method.context = context(nn.Linear(2, 2), (2,))
    for option in (o for o in method.options(source) if o.cost < source.count):
        for factor in method.factors(source, option.recipe):
            matrix = factor.weight.flatten(1)
            for axis in (0, 1):
                assert matrix.abs().sum(axis).min() > 0, option


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
