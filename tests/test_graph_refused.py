"""Errors of captures, and paddings, some of which are supported."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from support_graph import Function, check_capture, conv, kinds
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.errors import BuildError, Unsupported
from sparsemod.graph import capture
from sparsemod.graph.aten import TRANSLATIONS, Translation
from sparsemod.quantization import quantize

# torch warns once per process that even kernels cost a copy.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


@pytest.mark.parametrize(
    "layers",
    [
        [nn.ZeroPad2d(1), nn.ZeroPad2d((2, 0, 1, 3)), conv()],
        [nn.ZeroPad2d(1), conv(kernel=4, padding="same")],
        [nn.ZeroPad2d(1), nn.ZeroPad2d(2), nn.ZeroPad2d(1), conv(padding=1)],
        [nn.ZeroPad2d(1), nn.Identity(), nn.Dropout(), nn.ZeroPad2d(0), conv()],
        [nn.ZeroPad2d(0), nn.MaxPool2d(2)],
    ],
)
def test_consecutive_paddings_merge_into_the_convolution(layers: list[nn.Module]) -> None:
    graph = check_capture(nn.Sequential(*layers), (2, 8, 8))
    assert len(graph.operators) == 1 and "pad" not in kinds(graph)
    quantize(nn.Sequential(*layers), torch.randn(4, 2, 8, 8))


def test_one_padding_may_have_several_readers() -> None:
    def branches(m: nn.ModuleList, x: Tensor) -> Tensor:
        once = functional.pad(x, (1, 1, 1, 1))
        return m[0](once) + m[1](functional.pad(once, (1, 1, 1, 1)))

    graph = check_capture(Function(branches, conv(), conv(kernel=5)), (2, 8, 8))
    assert [o.attributes["padding"] for o in graph.operators if o.kind == "conv"] == [(1,) * 4, (2,) * 4]


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d(1), nn.MaxPool2d(2)),
        nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d(1)),
        nn.Sequential(nn.ZeroPad2d(1), nn.ReLU(), conv()),
    ],
)
def test_padding_elsewhere_copies_elements(module: nn.Module) -> None:
    graph = check_capture(module, (2, 8, 8))
    assert "take" in [o.kind for o in graph.operators] and "pad" not in [o.kind for o in graph.operators]


@pytest.mark.parametrize(
    ("module", "operator"),
    [
        (nn.AdaptiveMaxPool2d(1), "adaptive_max_pool2d"),
        (nn.MaxPool2d(2), "max_pool2d"),
        (nn.AvgPool2d(2), "avg_pool2d"),
    ],
)
def test_an_input_of_another_rank_is_refused(module: nn.Module, operator: str) -> None:
    with pytest.raises(Unsupported) as caught:
        capture(module, (3, 8))
    assert caught.value.operator == operator
    assert "shape (3, 8), not (" in str(caught.value) or "batch axis" in str(caught.value)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = conv(), nn.AdaptiveMaxPool2d(5)
        self.first = int(self.forward.__code__.co_firstlineno)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).cumsum(2)
        x = self.act(x).permute(0, 2, 3, 1)
        return x.sum((1, 2)).cumsum(1).cummax(1)[0]


def test_every_unsupported_operator_is_named_at_once() -> None:
    module = Functional()
    with pytest.raises(Unsupported) as caught:
        capture(module, (2, 8, 8))
    error = caught.value
    found = [(one.operator, one.layer, one.place) for one in (error, *error.others)]
    line = module.first

    def at(offset: int) -> str:
        return f"test_graph_refused.py, line {line + offset}"

    assert found == [
        ("cumsum", "forward", at(1)), ("adaptive_max_pool2d", "act", ""), ("cumsum", "forward", at(3)),
        ("cummax", "forward", at(3)),
    ]  # fmt: skip
    assert "'cumsum' at layer 'forward', test_graph_refused.py, line" in str(error)
    assert all(f"'{name}'" in str(error) for name in ("adaptive_max_pool2d", "cumsum", "cummax"))


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1, keepdim=True)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / (_length(x) + 1),
        lambda x: x / _length(x).clamp_min(0.5),
        lambda x: x / _length(x).clamp(max=0.5),
        lambda x: x / _length(x).clamp(1e-6, 0.5),
        lambda x: x / (_length(x) - 1e-6),
        lambda x: x / (_length(x) + x),
        lambda x: x / (1e-6 + 2 * _length(x)),
    ],
)
def test_a_division_by_more_than_the_length_is_no_normalization(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(Unsupported, match=r"divided by its length, with an epsilon of at most 0\.0001"):
        capture(Function(lambda m, x: function(x)), (2, 8, 8))


@pytest.mark.parametrize(
    "function",
    [
        functional.normalize,
        lambda x: x / _length(x),
        lambda x: x / (_length(x) + 1e-7),
        lambda x: x / _length(x).clamp(min=1e-6),
        lambda x: x / x.norm(dim=1, keepdim=True).clamp_min(1e-6),
    ],
)
def test_spellings_of_a_normalization(function: Callable[[Tensor], Tensor]) -> None:
    assert kinds(check_capture(Function(lambda m, x: function(x)), (2, 8, 8))) == ["l2_normalize"]


def test_the_places_of_the_largest_values_are_refused() -> None:
    with pytest.raises(
        Unsupported, match="it reads a second result, such as the places of the largest values"
    ):
        capture(Function(lambda m, x: x * x.max(1, keepdim=True)[1]), (2, 8, 8))


def test_an_operator_without_a_batch_axis_hides_no_other() -> None:
    def moved(m: nn.ModuleList, x: Tensor) -> Tensor:
        return functional.relu(x.transpose(0, 1)).sum(1).cumsum(1)

    with pytest.raises(Unsupported) as caught:
        capture(Function(moved), (2, 8, 8))
    names = [one.operator for one in (caught.value, *caught.value.others)]
    assert names[0] == "sum" and names[-1] == "cumsum" and "relu" not in names


@pytest.mark.parametrize(
    "function",
    [
        lambda x: functional.relu(x.transpose(0, 1)),
        lambda x: functional.relu(x.transpose(0, 1)).sum(1),
        lambda x: (2.0 * x.transpose(0, 1)).sum((2, 3)),
    ],
)
def test_a_moved_batch_axis_is_refused_behind_elementwise_operators(
    function: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises((BuildError, Unsupported), match="keep the batch axis first"):
        capture(Function(lambda m, x: function(x)), (2, 8, 8))


def test_an_untraceable_network_names_the_exception() -> None:
    def converting(m: nn.ModuleList, x: Tensor) -> Tensor:
        return m[0](torch.from_numpy(x.numpy()))

    with pytest.raises(
        BuildError, match=r"^Function: .* cannot trace it: \w+: .* \(test_graph.*, line \d+\)$"
    ) as caught:
        capture(Function(converting, conv()), (2, 8, 8))
    assert "must not depend" not in str(caught.value) and not isinstance(caught.value, Unsupported)


def test_a_fault_inside_capture_names_type_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(call: object) -> None:
        raise LookupError("lost")

    TRANSLATIONS.names()  # the built-in ones first
    for name in ("aten.conv2d.default", "aten.convolution.default"):
        monkeypatch.setitem(TRANSLATIONS._members, name, Translation(faulty))
    with pytest.raises(BuildError, match=r"capture raised LookupError: lost \(test_graph_refused.py, line"):
        capture(conv(), (2, 8, 8))


def test_out_of_memory_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(call: object) -> None:
        raise MemoryError

    TRANSLATIONS.names()  # the built-in ones first
    monkeypatch.setitem(TRANSLATIONS._members, "aten.convolution.default", Translation(hungry))
    with pytest.raises(MemoryError):
        capture(conv(), (2, 8, 8))


INTERRUPTED = """
import errno, importlib.abc, sys
from torch import nn
from sparsemod.errors import SparsemodError
from sparsemod.graph import capture

class Full(importlib.abc.MetaPathFinder):
    left = 1
    def find_spec(self, name, path, target=None):
        if name == "torch._dynamo.package" and self.left:
            self.left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")

sys.meta_path.insert(0, Full())
for _ in range(2):
    try:
        capture(nn.Linear(3, 2), (3,))
        print("captured")
    except SparsemodError as error:
        print(type(error).__name__)
"""


def test_an_exporter_that_was_loaded_in_part_is_no_fault_of_the_network() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["ProcessUnusable"] * 2, done.stderr
