"""Random small networks for property tests: convolutions of every kind, residual and parallel branches, batch norm anywhere."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.graph import Graph, capture, deployed, run_float
from sparsemod.graph.capture import evaluating

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, inplace: bool) -> None:
        super().__init__()
        self.inner, self.inplace = inner, inplace

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.inplace:
            y += x
            return torch.relu_(y)
        return x + y


class Parallel(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Padded(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (0, 1, 1, 0)))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def convolution(draw: Draw, channels: int, out: int) -> nn.Module:
    """One that keeps rows and columns, of any kernel, dilation and grouping."""
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0 and out % g == 0]))
    kernel = draw(st.sampled_from([1, 2, 3, 4, (3, 2)]))
    return nn.Conv2d(
        channels,
        out,
        kernel,
        padding="same",
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
    )


@st.composite
def networks(draw: Draw) -> tuple[nn.Module, tuple[int, int, int]]:
    """(module, sample shape); weights and batch norm statistics are random."""
    channels, size = draw(st.integers(1, 3)), draw(st.integers(8, 10))
    shape = (channels, size, size)
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        match draw(
            st.sampled_from(
                [
                    "conv",
                    "stride",
                    "padded",
                    "norm",
                    "relu",
                    "relu6",
                    "max",
                    "avg",
                    "residual",
                    "parallel",
                    "drop",
                ]
            )
        ):
            case "conv":
                out = draw(st.integers(1, 4))
                layers += [convolution(draw, channels, out), nn.BatchNorm2d(out)]
                channels = out
            case "stride":
                layers.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
            case "padded":
                layers.append(Padded(nn.Conv2d(channels, channels, 2)))
            case "norm":
                layers.append(nn.BatchNorm2d(channels, affine=draw(st.booleans())))
            case "relu":
                layers.append(nn.ReLU(inplace=draw(st.booleans())))
            case "relu6":
                layers.append(draw(st.sampled_from([nn.ReLU6(), nn.Hardtanh(0, 6)])))
            case "max":
                layers.append(nn.MaxPool2d(2, stride=1, padding=draw(st.integers(0, 1))))
            case "avg":
                layers.append(
                    nn.AvgPool2d(
                        3,
                        stride=1,
                        padding=1,
                        count_include_pad=draw(st.booleans()),
                        ceil_mode=draw(st.booleans()),
                    )
                )
            case "residual":
                inner = nn.Sequential(convolution(draw, channels, channels), nn.BatchNorm2d(channels))
                layers.append(Residual(inner, draw(st.booleans())))
            case "parallel":
                one, two = draw(st.integers(1, 2)), draw(st.integers(1, 2))
                left = nn.Sequential(convolution(draw, channels, one), nn.ReLU(inplace=True))
                layers.append(Parallel(left, convolution(draw, channels, two)))
                channels = one + two
            case "drop":
                layers.append(nn.Dropout(0.5))
    body = nn.Sequential(*layers)
    with torch.no_grad():
        body.eval()
        sizes = body(torch.zeros(1, *shape)).shape[1:]
    match draw(st.sampled_from(["flatten", "global", "mean"])):
        case "flatten":
            head: list[nn.Module] = [nn.Flatten()]
            features = int(torch.Size(sizes).numel())
        case "global":
            head, features = [nn.AdaptiveAvgPool2d(1), nn.Flatten()], sizes[0]
        case _:
            head, features = [Mean()], sizes[0]
    head += [nn.Linear(features, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 3)]
    module = nn.Sequential(*layers, *head)
    randomize(module, draw(st.integers(0, 2**16)))
    return module, shape


def randomize(module: nn.Module, seed: int) -> None:
    """Weights of moderate size and batch norm statistics unlike the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            for tensor in part._parameters.values():
                if tensor is not None:
                    tensor.normal_(0, 0.5, generator=generator)
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                assert part.running_mean is not None and part.running_var is not None
                part.running_mean.normal_(0, 0.5, generator=generator)
                part.running_var.uniform_(0.3, 3.0, generator=generator)


class LeNet(nn.Module):
    """Small enough to be counted by hand: see test_measure_size.py."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


class Function(nn.Module):
    """A module from a function of (layers, x)."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layers, x)


def check_capture(module: nn.Module, shape: tuple[int, ...], seed: int = 0) -> Graph:
    graph = capture(module, shape)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))
    with evaluating(module), torch.no_grad():
        expected = module(x.clone())
    torch.testing.assert_close(run_float(graph, x), expected)
    torch.testing.assert_close(run_float(deployed(graph), x), expected, rtol=1e-5, atol=1e-5)
    return graph


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


def conv(inputs: int = 2, outputs: int = 3, kernel: int = 3, **more: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **more)
