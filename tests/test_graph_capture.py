"""Capturing modules: the result of each operator, the errors, and that the module stays unchanged."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from support_graph import Function, LeNet, check_capture, conv, kinds, networks
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.errors import BuildError, InvalidInput, SparsemodError, Unsupported
from sparsemod.graph import Graph, capture, capture_one, run_float
from sparsemod.graph.capture import _graph as translate
from sparsemod.graph.capture import evaluating, example_for
from sparsemod.graph.signature import inputs_of
from sparsemod.graph.trace import exported, recorded

# torch warns once per process that even kernels cost a copy.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def both(module: nn.Module, shape: tuple[int, ...]) -> tuple[Graph, Graph]:
    inputs = inputs_of(module, shape, None)
    examples = (example_for(module, shape),)
    with evaluating(module):
        return translate(module, recorded(module, examples), inputs), translate(
            module, exported(module, examples), inputs
        )


def test_names_are_layer_paths_and_shapes_have_no_batch() -> None:
    graph = check_capture(LeNet(), (1, 28, 28))
    assert [o.name for o in graph.operators] == [
        "conv1", "relu", "max_pool", "conv2", "relu_2", "max_pool_2", "flatten", "fc1", "relu_3", "fc2", "relu_4", "fc3",
    ]  # fmt: skip
    assert (
        graph.shapes["input"] == (1, 28, 28)
        and graph.shapes["conv2"] == (16, 10, 10)
        and graph.shapes["fc3"] == (10,)
    )
    assert graph.operators[0].weight == "conv1.weight" == graph.operators[0].attributes["parameter"]
    assert set(graph.state) == set(LeNet().state_dict())
    assert graph.users()["conv1"][0].name == "relu" and graph.producers()["fc3"].kind == "linear"


def test_every_kind_of_layer() -> None:
    module = nn.Sequential(
        nn.Conv2d(2, 4, 4, padding="same"), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Conv2d(4, 4, 3, groups=4, padding=2, dilation=2), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Dropout2d(0.3),
        nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 3),
    )  # fmt: skip
    graph = check_capture(module, (2, 9, 9))
    assert kinds(graph) == [
        "conv", "batch_norm", "relu6", "max_pool", "conv", "relu", "avg_pool", "global_avg_pool", "flatten", "linear"
    ]  # fmt: skip
    assert graph.operators[0].attributes["padding"] == (1, 2, 1, 2)  # the odd one below and to the right
    assert graph.operators[3].attributes == {
        "kernel": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1), "dilation": (1, 1), "ceil_mode": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: functional.hardtanh(m[0](x), 0, 6), ["conv", "relu6"]),
        (lambda m, x: m[0](x).clamp(min=0), ["conv", "relu"]),
        (lambda m, x: m[0](functional.pad(x, (1, 2, 0, 3))), ["conv"]),
        (lambda m, x: functional.conv2d(x, m[0].weight * 2, m[0].bias), ["conv"]),
        (lambda m, x: m[0](x).mean((2, 3)), ["conv", "global_avg_pool"]),
        (lambda m, x: m[0](x).mean((-1, -2), keepdim=True), ["conv", "global_avg_pool"]),
        (lambda m, x: functional.adaptive_avg_pool2d(m[0](x), 3), ["conv", "avg_pool"]),
        (lambda m, x: functional.adaptive_max_pool2d(m[0](x), 2), ["conv", "max_pool"]),
        (lambda m, x: sum(layer(x) for layer in m), ["conv", "conv", "add"]),
        (lambda m, x: torch.cat([layer(x) for layer in m], dim=-3), ["conv", "conv", "concat"]),
        (lambda m, x: m[0](x).view(x.size(0), -1), ["conv", "flatten"]),
        (lambda m, x: m[0](x).reshape(-1, 108).contiguous().clone().detach(), ["conv", "flatten"]),
        (lambda m, x: [layer(x) for layer in m][1], ["conv"]),
    ],
)  # fmt: skip
def test_functions(function: Callable[..., Tensor], expected: list[str]) -> None:
    module = Function(function, conv(), conv())
    assert kinds(check_capture(module, (2, 8, 8))) == expected
    fast, truth = both(module, (2, 8, 8))
    assert [(o.kind, o.inputs, o.attributes.get("padding")) for o in fast.operators] == [
        (o.kind, o.inputs, o.attributes.get("padding")) for o in truth.operators
    ]


def test_padding_is_taken_in() -> None:
    graph = capture(Function(lambda m, x: m[0](functional.pad(x, (1, 2, 0, 3))), conv(padding=1)), (2, 8, 8))
    (operator,) = graph.operators
    assert operator.name == "layers.0" and operator.attributes["padding"] == (1, 4, 2, 3)


def test_in_place_operators_change_every_alias() -> None:
    def aliased(m: nn.ModuleList, x: Tensor) -> Tensor:
        y = m[0](x)
        z = y
        z += m[1](x)
        return torch.relu_(z) + y  # y is the relu's result by now

    graph = check_capture(Function(aliased, conv(), conv()), (2, 8, 8))
    assert graph.operators[-1].inputs == ("relu", "relu")

    def copied(m: nn.ModuleList, x: Tensor) -> Tensor:
        y = m[0](x)
        return torch.relu_(y.clone()) + y

    assert check_capture(Function(copied, conv()), (2, 8, 8)).operators[-1].inputs == ("relu", "layers.0")

    def viewed(m: nn.ModuleList, x: Tensor) -> Tensor:
        y = m[0](x)
        flat = y.flatten(1)
        y.relu_()
        return flat

    with pytest.raises(Unsupported, match="in place"):
        capture(Function(viewed, conv()), (2, 8, 8))


def test_in_place_changes_of_constants_stay_out_of_the_module() -> None:
    def masked(m: nn.ModuleList, x: Tensor) -> Tensor:
        weight = m[0].weight.clone()
        weight[0] = 0
        return functional.conv2d(x, weight)

    module = Function(masked, conv())
    before = module.layers[0].weight.clone()
    graph = check_capture(module, (2, 8, 8))
    assert (
        torch.equal(before, module.layers[0].weight)
        and not graph.state[str(graph.operators[0].weight)][0].any()
    )


def test_shared_layers_and_dead_code() -> None:
    def shared(m: nn.ModuleList, x: Tensor) -> Tensor:
        m[1](x).sigmoid()  # no operator reads it
        return m[0](m[0](x))

    graph = check_capture(Function(shared, conv(2, 2), conv()), (2, 8, 8))
    assert [o.name for o in graph.operators] == ["layers.0", "layers.0.conv"]
    assert {o.weight for o in graph.operators} == {"layers.0.weight"} and set(graph.state) == {
        "layers.0.weight",
        "layers.0.bias",
    }


def test_vectors_and_computed_matrices() -> None:
    module = Function(lambda m, x: torch.relu(m[0](x)) @ m[1].weight.t(), nn.Linear(5, 4), nn.Linear(4, 3))
    graph = check_capture(module, (5,))
    assert kinds(graph) == ["linear", "relu", "linear"]
    assert kinds(check_capture(nn.utils.parametrizations.weight_norm(conv()), (2, 8, 8))) == ["conv"]


@given(networks())
@settings(max_examples=15, deadline=None)
def test_the_fast_way_agrees_with_torch_export(network: tuple[nn.Module, tuple[int, int, int]]) -> None:
    module, shape = network
    fast, truth = both(module, shape)
    assert fast.operators == truth.operators and fast.shapes == truth.shapes and fast.output == truth.output
    assert fast.state.keys() == truth.state.keys()
    assert all(torch.equal(fast.state[key], truth.state[key]) for key in truth.state)


def test_the_module_is_left_alone() -> None:
    module = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(108, 2))
    module.train()
    module[1].eval()
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    graph = capture(module, (2, 8, 8))
    assert [part.training for part in module.children()] == [True, False, True, True, True]
    assert all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    with torch.no_grad():
        module[0].weight.zero_()
    assert graph.state["0.weight"].any(), "the graph holds a copy"
    module(torch.zeros(2, 2, 8, 8)).sum().backward()


def test_attributes_that_forward_sets_are_taken_back() -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.count = conv(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            self.seen = self.conv(x)
            return self.seen

    module = Remembering()
    assert kinds(capture(module, (2, 8, 8))) == ["conv"]
    assert module.count == 0 and not hasattr(module, "seen")


def test_random_constants_are_refused() -> None:
    with pytest.raises(Unsupported, match="random"):
        capture(Function(lambda m, x: m[0](x) + torch.rand(7, 3, 6, 6, device=x.device), conv()), (2, 8, 8))


@pytest.mark.parametrize(
    ("function", "layers", "operator", "layer"),
    [
        (lambda m, x: m[0](x).cumsum(2), [conv()], "cumsum", "forward"),
        (lambda m, x: x.softmax(0), [], "softmax", "forward"),
        (lambda m, x: x * torch.arange(8.0, device=x.device), [], "mul", "forward"),
        (lambda m, x: x[0:3], [], "slice", "forward"),
        (lambda m, x: functional.normalize(x, dim=2), [], "linalg_vector_norm", "forward"),
        (lambda m, x: m[0](x), [nn.BatchNorm2d(2, track_running_stats=False)], "batch_norm", "layers.0"),
        (lambda m, x: x if x.sum() > 0 else m[0](x), [conv()], "data-dependent control flow", "Function"),
    ],
)  # fmt: skip
def test_unsupported_operators_are_named(
    function: Callable[..., Tensor],
    layers: list[nn.Module],
    operator: str,
    layer: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Unsupported) as caught:
        capture(Function(function, *layers), (2, 8, 8))
    assert (caught.value.operator, caught.value.layer, caught.value.by) == (operator, layer, "capture")
    assert capfd.readouterr() == ("", ""), "torch's own noise is kept away"


def test_a_network_too_deep_for_its_image_names_the_layer() -> None:
    module = nn.Sequential(conv(1, 4), nn.MaxPool2d(4), conv(4, 4), nn.Flatten())
    with pytest.raises(
        BuildError, match=r"^2: .*samples of shape \(1, 6, 6\): Conv2d received shape \(4, 1, 1\)"
    ) as caught:
        capture(module, (1, 6, 6))
    assert caught.value.layer == "2"
    with pytest.raises(BuildError, match=r"Linear received shape \(64,\)"):
        capture(nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), (1, 8, 8))


def test_batch_norm_of_another_width_is_noticed() -> None:
    with pytest.raises(BuildError, match=r"1: .*BatchNorm2d received shape"):
        capture(nn.Sequential(conv(2, 3), nn.BatchNorm2d(4)), (2, 8, 8))


def test_errors_of_the_module_itself() -> None:
    def refuse(m: nn.ModuleList, x: Tensor) -> Tensor:
        raise BuildError("no such network", "here")

    with pytest.raises(BuildError, match=r"^here: no such network$"):
        capture(Function(refuse), (2, 8, 8))
    with pytest.raises(BuildError, match="Function received"):
        capture(Function(lambda m, x: m.missing(x)), (2, 8, 8))
    with pytest.raises(BuildError, match="returns one tensor twice, as output_1"):
        capture(Function(lambda m, x: (x, x)), (2, 8, 8))
    with pytest.raises(BuildError, match="one output; this one returns output_0, output_1"):
        capture_one(Function(lambda m, x: (x, x + x)), (2, 8, 8))
    with pytest.raises(BuildError, match="result extra must be a tensor"):
        capture(Function(lambda m, x: {"x": x.relu(), "extra": torch.ones(3)}), (2, 8, 8))


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4), (0, 4, 4), (1, True, 4), (1.0,)])
def test_bad_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        capture(LeNet(), shape)


def test_run_float_checks_and_observes() -> None:
    graph = capture(LeNet(), (1, 28, 28))
    with pytest.raises(SparsemodError, match="shape"):
        run_float(graph, torch.zeros(2, 1, 8, 8))
    seen: dict[str, tuple[int, ...]] = {}
    run_float(
        graph, torch.zeros(2, 1, 28, 28), lambda name, value: seen.update({name: tuple(value.shape[1:])})
    )
    assert seen == graph.shapes
