"""Everyday spellings of PyTorch: captured with the same numbers, or refused with every operator, its place and a spelling that works."""

import warnings
from collections.abc import Callable

import pytest
import torch
from support_operators import Applied
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.errors import Unsupported
from sparsemod.graph import capture, deployed, run_float_named

IMAGE, SEQUENCE, STEPS, VECTOR = (3, 8, 8), (4, 12), (12, 16), (6,)


class Hidden(nn.Module):
    """A cell with an optional state, which it returns as well."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(6, 5)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if hidden is None:
            hidden = torch.zeros(x.shape[0], 5, device=x.device)
        state = torch.tanh(self.dense(x) + hidden)
        return state, state * 2


class Condition(nn.Module):
    """A branch of torch.cond: by the shape, or by the values."""

    def __init__(self, by_values: bool) -> None:
        super().__init__()
        self.dense, self.by_values = nn.Linear(6, 5), by_values

    def forward(self, x: Tensor) -> Tensor:
        chosen = x.sum() > 0 if self.by_values else x.shape[1] > 3
        return torch.cond(chosen, lambda y: self.dense(y).relu(), lambda y: self.dense(y), (x,))


class Heads(nn.Module):
    """Attention as in timm: one projection, its axes permuted with the batch, and three parts."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        q, k, v = self.qkv(x).reshape(n, steps, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, steps, width)


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)
    ).eval()


def of(function: Callable[..., Tensor], *layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Applied(function, *(layer() for layer in layers))


WORK: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "BatchNorm1d on (C, L)": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU()), SEQUENCE),
    "BatchNorm1d alone": (lambda: nn.BatchNorm1d(4), SEQUENCE),
    "x and hidden": (Hidden, VECTOR),
    "cond by shape": (lambda: Condition(False), VECTOR),
    "symbolic trace": (lambda: torch.fx.symbolic_trace(convolution()), IMAGE),
    "zeros_like": (of(lambda x: x + torch.zeros_like(x)), VECTOR),
    "ones_like": (of(lambda x: x * torch.ones_like(x)), VECTOR),
    "new_zeros": (of(lambda x: torch.cat([x, x.new_zeros(x.shape[0], 2)], 1)), VECTOR),
    "amin": (of(lambda x: x.amin((2, 3))), IMAGE),
    "min": (of(lambda x: x.min(2).values), SEQUENCE),
    "where": (of(lambda x: torch.where(x > 0, x, 0.1 * x)), VECTOR),
    "where of two": (of(lambda x: torch.where(x > 0, x.flip(1), x * x)), VECTOR),
    "masked_fill": (of(lambda x: x.masked_fill(x < 0, 0.5)), VECTOR),
    "atan": (of(lambda x: torch.atan(3 * x)), VECTOR),
    "fmax": (of(lambda x: torch.fmax(x, 0.5 * x.flip(1))), VECTOR),
    "fmin": (of(lambda x: torch.fmin(x, 0.5 * x.flip(1))), VECTOR),
    "comparison times x": (of(lambda x: x * (x >= 0)), VECTOR),
    "comparison as floats": (of(lambda x: x * (x <= 0.5).float()), VECTOR),
    "GLU": (lambda: nn.GLU(1), VECTOR),
    "RReLU": (lambda: nn.RReLU(), VECTOR),
    "RMSNorm": (lambda: nn.RMSNorm(6), VECTOR),
    "addcmul": (of(lambda x: torch.addcmul(x, x, x.relu(), value=0.5)), VECTOR),
    "lerp": (of(lambda x: torch.lerp(x, x.relu(), 0.3)), VECTOR),
    "alpha": (of(lambda x: torch.sub(x, x.relu(), alpha=0.5)), VECTOR),
    "linear on an image": (lambda: nn.Linear(8, 5), IMAGE),
    "einsum": (of(lambda x: torch.einsum("bij,bkj->bik", x, x)), SEQUENCE),
    "constant matrix times x": (of(lambda x: torch.arange(8.0).reshape(2, 4) @ x), SEQUENCE),
    "x times constant matrix": (of(lambda x: x @ torch.arange(36.0).reshape(12, 3)), SEQUENCE),
    "softmin": (lambda: nn.Softmin(1), VECTOR),
    "softmax of rows": (lambda: nn.Softmax(-2), IMAGE),
    "channels last": (of(lambda x, n, a: a(n(x.permute(0, 2, 3, 1))).movedim(-1, 1), lambda: nn.LayerNorm(3), lambda: nn.Linear(3, 4)), IMAGE),
    "heads as in timm": (Heads, STEPS),
    "decoder layer": (of(lambda x, d: d(x, x.flip(1)), lambda: nn.TransformerDecoderLayer(16, 2, 32, batch_first=True)), STEPS),
    "attention of two sources": (of(lambda x, m: m(x, x[:, :5], x[:, :5])[0], lambda: nn.MultiheadAttention(16, 4, batch_first=True)), STEPS),
    "attention of other widths": (
        of(lambda x, m: m(x, x[..., :6], x[..., :5])[0], lambda: nn.MultiheadAttention(16, 2, kdim=6, vdim=5, bias=False, batch_first=True)),
        STEPS,
    ),
    "attention's weights": (of(lambda x, m: m(x, x, x)[1], lambda: nn.MultiheadAttention(16, 2, batch_first=True)), STEPS),
    "class token": (of(lambda x: torch.cat([torch.linspace(-1, 1, 16).expand(len(x), 1, -1), x], 1)), STEPS),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WORK)
def test_spellings_that_work(name: str) -> None:
    make, shape = WORK[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, x = make().eval(), torch.randn(7, *shape)
    captured, truth = capture(module, shape), module(x)
    expected = truth if isinstance(truth, tuple) else (truth,)
    for graph in (captured, deployed(captured)):
        found = run_float_named(graph, {"input": x}).values()
        for values, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(values, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 2, None])
@pytest.mark.parametrize("program", [False, True])
def test_exported_programs(samples: int | None, program: bool) -> None:
    """A program takes the number of samples with which it was exported, or any."""
    module, x = convolution(), torch.randn(4, *IMAGE)
    sizes = None if samples else ({0: torch.export.Dim("n")},)
    exported = torch.export.export(module, (torch.zeros(samples or 2, *IMAGE),), dynamic_shapes=sizes)
    graph = capture(exported if program else exported.module(), IMAGE)
    assert [o.kind for o in graph.operators] == ["conv", "batch_norm", "relu", "flatten", "linear"]
    torch.testing.assert_close(
        run_float_named(graph, {"input": x})["output"], module(x), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("scripted", [True, False])
def test_scripted_modules(scripted: bool) -> None:
    module, x = convolution(), torch.randn(4, *IMAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.script(module) if scripted else torch.jit.trace(module, torch.zeros(1, *IMAGE))
    made.train()
    graph = capture(made, IMAGE)
    assert made.training and all(part.training for part in made.modules())
    assert [o.weight for o in graph.operators if o.weight] == ["0.weight", "1.weight", "4.weight"]
    torch.testing.assert_close(
        run_float_named(graph, {"input": x})["output"], module(x), atol=1e-4, rtol=1e-4
    )


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], str, str]] = {
    "argmax": (lambda x: x.argmax(1), VECTOR, "argmax", "the largest output is the class"),
    "topk": (lambda x: x.topk(2, 1).values, VECTOR, "topk", "outside of the network"),
    "bicubic": (lambda x: functional.interpolate(x, size=12, mode="bicubic"), IMAGE, "upsample_bicubic2d", "mode='bilinear' works"),
    "unfold": (lambda x: functional.unfold(x, 2), IMAGE, "im2col", "a convolution computes the same"),
    "variance": (lambda x: x.var((2, 3)), IMAGE, "var", "GroupNorm"),
    "cumulative sum": (lambda x: x.cumsum(1), VECTOR, "cumsum", "triangular matrix"),
    "causal attention": (
        lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True), STEPS, "scaled_dot_product_attention", "with a mask",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_spellings_name_place_and_another_spelling(name: str) -> None:
    function, shape, operator, hint = REFUSED[name]
    with pytest.raises(Unsupported) as refused:
        capture(Applied(function), shape)
    assert operator in refused.value.operator and hint in str(refused.value)
    assert "support_operators.py, line " in str(refused.value)


def test_all_refused_operators_are_listed() -> None:
    with pytest.raises(
        Unsupported,
        match=r"'cumsum'.*; nor 'var' at .*; nor 'topk' at layer 'forward', support_operators.py, line \d+",
    ):
        capture(
            Applied(lambda x: x.cumsum(1).relu().var(2, keepdim=True).sigmoid().topk(1, 2).values), SEQUENCE
        )
    with pytest.raises(Unsupported, match=r"'cond' at layer 'Condition' .*a Python if"):
        capture(Condition(True), VECTOR)
