"""Pruning on networks in the style of published ones: residual, concatenated, depthwise, shuffled, shared, gated channels."""

from typing import Any

import pytest
import torch
from support_pruning import context
from support_zoo import ZOO
from torch import nn

from sparsemod.graph import capture
from sparsemod.pruning import METHODS
from sparsemod.pruning.weights import prunable_weights

pytestmark = pytest.mark.slow(every=6)

REFUSED = ("vision transformer", "recurrent network")
"""Networks that cannot be captured; their single weights can still be pruned."""

FILTERS = ("filters", "pfp")
STRUCTURED = (*FILTERS, "svd", "alds")


def pruned(name: str, method_name: str) -> tuple[nn.Module, nn.Module, Any, Any]:
    """A network, its smaller form, the method and the plan."""
    make, shape = ZOO[name]
    torch.manual_seed(0)
    module = make().eval()
    keys = {"of": "weights"} if "of" in METHODS.config_of(method_name).model_fields else {}
    method: Any = METHODS.create(METHODS.config(method_name, sparsity=0.4, **keys))
    plan = None if name in REFUSED else method.plan(capture(module, shape), 0.4, module.state_dict())
    held = context(module, shape)
    method.start(type(held)(module, held.samples, lambda outputs, y: outputs.square().mean(), 0))
    method.before_epoch(1, 1)
    method.finish()
    return module, method.transform(module.eval(), shape), method, plan


SEVERAL = ("detector with two scales", "fusion of image and sensors", "Siamese comparison")
"""Networks with several inputs or outputs, which are not trained here."""
SIZED = ("attention with products of matrices",)
"""Networks whose forward states the sizes of views, so that no filter can go."""
CASES = [
    (name, method)
    for name in ZOO
    for method in STRUCTURED
    if name not in (*REFUSED, *SEVERAL) and not (name in SIZED and method in FILTERS)
]


@pytest.mark.parametrize(("name", "method_name"), CASES)
def test_a_smaller_network_computes_the_same(name: str, method_name: str) -> None:
    before = sum(w.numel() for w in prunable_weights(ZOO[name][0]()).values())
    module, small, method, plan = pruned(name, method_name)
    x = torch.randn(3, *ZOO[name][1])
    with torch.no_grad():
        torch.testing.assert_close(small(x), module(x), rtol=1e-3, atol=1e-4)
    graph = capture(small, ZOO[name][1])
    if plan.exact:
        assert dict(plan.graph.shapes) == dict(graph.shapes)
    left = sum(w.numel() for w in prunable_weights(small).values())
    assert left < before or method.sparsity == 0


@pytest.mark.parametrize("method_name", ["magnitude", "snip", "sipp", "n_of_m"])
@pytest.mark.parametrize("name", REFUSED)
def test_single_weights_are_pruned_where_a_network_cannot_be_captured(name: str, method_name: str) -> None:
    make, shape = ZOO[name]
    torch.manual_seed(0)
    module = make().eval()
    if not prunable_weights(module):
        pytest.skip("it has no convolution and no linear layer")
    keys = {} if method_name == "n_of_m" else {"sparsity": 0.5}
    method: Any = METHODS.create(METHODS.config(method_name, **keys))
    held = context(module, shape)
    method.start(type(held)(module, held.samples, lambda outputs, y: outputs.square().mean(), 0))
    method.before_epoch(1, 1)
    assert method.sparsity == pytest.approx(0.5, abs=0.01)
