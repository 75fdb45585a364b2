"""Small networks in the style of published ones, written with torch's layers: for the count of networks that reach every stage."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, ...]


class Applied(nn.Module):
    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def _block(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:  # fmt: skip
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act())


def _head(channels: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Excite(nn.Module):
    """Squeeze and excite, spelled with views or with 1 x 1 convolutions."""

    def __init__(self, channels: int, views: bool, gate: Callable[[], nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        layer = nn.Linear if views else (lambda a, b: nn.Conv2d(a, b, 1))
        self.first, self.second, self.gate, self.views = layer(channels, 4), layer(4, channels), gate(), views

    def forward(self, x: Tensor) -> Tensor:
        n, c = x.shape[:2]
        y = functional.adaptive_avg_pool2d(x, 1)
        y = self.gate(self.second(functional.relu(self.first(y.view(n, c) if self.views else y))))
        return x * (y.view(n, c, 1, 1) if self.views else y)


class Inverted(nn.Module):
    """MobileNetV2 and V3: expand, depthwise, optional excite, project, residual."""

    def __init__(self, channels: int, act: Callable[[], nn.Module], excite: nn.Module | None = None) -> None:
        super().__init__()
        wide = 2 * channels
        self.body = nn.Sequential(
            _block(channels, wide, 1, act=act), _block(wide, wide, 3, groups=wide, act=act), excite or nn.Identity(),
            nn.Conv2d(wide, channels, 1), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Shuffle(nn.Module):
    """ShuffleNetV2's unit: split, convolve one half, concatenate, shuffle."""

    def __init__(self, channels: int, spelled: str) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            _block(half, half, 1), _block(half, half, 3, groups=half), _block(half, half, 1)
        )
        self.spelled = spelled

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        if self.spelled == "function":
            return functional.channel_shuffle(x, 2)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class Ghost(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main, self.cheap = (
            _block(inputs, outputs // 2, 1),
            _block(outputs // 2, outputs // 2, 3, groups=outputs // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.main(x)
        return torch.cat([y, self.cheap(y)], dim=1)


class UNet(nn.Module):
    def __init__(self, up: str) -> None:
        super().__init__()
        self.one, self.two = _block(1, 6), _block(6, 8)
        ups: Mapping[str, Callable[[], nn.Module]] = {
            "transposed": lambda: nn.ConvTranspose2d(8, 6, 2, 2),
            "nearest": lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 6, 1)),
            "bilinear": lambda: nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), nn.Conv2d(8, 6, 1)),
            "shuffle": lambda: nn.Sequential(nn.Conv2d(8, 24, 1), nn.PixelShuffle(2)),
        }
        self.up, self.last = ups[up](), nn.Conv2d(12, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        up = self.up(self.two(functional.max_pool2d(one, 2)))
        return torch.sigmoid(self.last(torch.cat([one, up], 1)))


class Causal(nn.Module):
    """A block of a temporal convolutional network: padding on the left, dilation, residual."""

    def __init__(self, channels: int, dilation: int, chomp: bool) -> None:
        super().__init__()
        self.dilation, self.chomp = dilation, chomp
        self.conv = nn.Conv1d(channels, channels, 3, dilation=dilation, padding=2 * dilation if chomp else 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.chomp:
            return functional.relu(x + self.conv(x)[:, :, : -2 * self.dilation])
        return functional.relu(x + self.conv(functional.pad(x, (2 * self.dilation, 0))))


class Gated(nn.Module):
    """WaveNet's gate: tanh times sigmoid, with residual and skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filters, self.gates = (
            nn.Conv1d(channels, channels, 3, padding=1),
            nn.Conv1d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.filters(x)) * torch.sigmoid(self.gates(x))


class LinearUnit(nn.Module):
    """A gated linear unit over channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, 2 * outputs, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.conv(x).split(self.conv.out_channels // 2, dim=1)
        return value * gate.sigmoid()


class Scale(nn.Module):
    """ConvNeXt's layer scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(0.5 + torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(1, -1, 1, 1)


class Spatial(nn.Module):
    """CBAM's spatial attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * self.conv(pooled).sigmoid()


class Option(nn.Module):
    """ResNet's shortcut of option A: a strided slice, and zeros for the new channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_block(inputs, outputs, 3, 2), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.more = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.more))
        return functional.relu(short + self.body(x))


class Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = (
            _block(inputs, squeezed, 1),
            _block(squeezed, expanded, 1),
            _block(squeezed, expanded),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


class EcaGate(nn.Module):
    """ECA-Net: a one-dimensional convolution over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)
        return x * self.conv(y).transpose(-1, -2).unsqueeze(-1).sigmoid()


class ConvNext(nn.Module):
    """ConvNeXt's block, with linear layers on channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.wide, self.narrow = (
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.Linear(4 * channels, channels),
        )
        self.gamma = nn.Parameter(torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.narrow(functional.gelu(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


class Vision(nn.Module):
    """A vision transformer: patches, class token, positional embedding, encoder layers."""

    def __init__(self, width: int, heads: int, first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token, self.places = (
            nn.Parameter(torch.randn(1, 1, width)),
            nn.Parameter(torch.randn(1, 17, width)),
        )
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, batch_first=True, norm_first=first, activation="gelu"
        )
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(y), -1, -1), y], 1) + self.places
        return self.last(self.layers(y)[:, 0])


class Attention(nn.Module):
    """Self-attention in one projection, spelled with products of matrices."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.project, self.last, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        q, k, v = (y.view(n, steps, self.heads, -1).transpose(1, 2) for y in self.project(x).chunk(3, -1))
        weights = (q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)).softmax(-1)
        return x + self.last((weights @ v).transpose(1, 2).reshape(n, steps, width))


class Mixer(nn.Module):
    """MLP-Mixer's block: one MLP over positions, one over channels."""

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.tokens, self.channels = (
            _mlp(steps, 2 * steps, steps, act=nn.GELU),
            _mlp(width, 2 * width, width, act=nn.GELU),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))


class Detector(nn.Module):
    """A detector with two heads at two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deeper = _block(3, 8, stride=2), _block(8, 12, stride=2)
        self.heads = nn.ModuleList([nn.Conv2d(8, 6, 1), nn.Conv2d(12, 6, 1)])

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        fine = self.stem(x)
        coarse = self.deeper(fine)
        maps = [head(y) for head, y in zip(self.heads, (fine, coarse), strict=True)]
        return {"boxes": [y[:, :4] for y in maps], "scores": [y[:, 4:].sigmoid() for y in maps]}


class Fusion(nn.Module):
    """An image and a vector of other sensors."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.sensors = (
            nn.Sequential(_block(3, 8, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            _mlp(6, 8, 8),
        )
        self.last = nn.Linear(16, 4)

    def forward(self, image: Tensor, sensors: Tensor) -> Tensor:
        return self.last(torch.cat([self.image(image), self.sensors(sensors)], 1))


def _mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU, last: nn.Module | None = None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), act()]
    return nn.Sequential(*layers[:-1], *([last] if last else []))


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


IMAGE, SMALL, SOUND, MOTION = (3, 16, 16), (1, 16, 16), (8, 32), (3, 48)

ZOO: Mapping[str, tuple[Callable[[], nn.Module], Shape | Mapping[str, Shape]]] = {
    "MobileNetV2 block": (lambda: nn.Sequential(_block(3, 8, stride=2, act=nn.ReLU6), Inverted(8, nn.ReLU6), _head(8)), IMAGE),
    "MobileNetV3 block": (lambda: nn.Sequential(_block(3, 8, stride=2, act=nn.Hardswish), Inverted(8, nn.Hardswish, Excite(16, False, nn.Hardsigmoid)), _head(8)), IMAGE),
    "EfficientNet block": (lambda: nn.Sequential(_block(3, 8, stride=2, act=nn.SiLU), Inverted(8, nn.SiLU, Excite(16, True)), _head(8)), IMAGE),
    "ShuffleNetV2 unit": (lambda: nn.Sequential(_block(3, 8, stride=2), Shuffle(8, "function"), _head(8)), IMAGE),
    "ShuffleNetV2 unit with views": (lambda: nn.Sequential(_block(3, 8, stride=2), Shuffle(8, "views"), _head(8)), IMAGE),
    "GhostNet": (lambda: nn.Sequential(Ghost(3, 8), nn.MaxPool2d(2), Ghost(8, 12), _head(12)), IMAGE),
    "SqueezeNet": (lambda: nn.Sequential(_block(3, 8, stride=2), Fire(8, 4, 6), Fire(12, 4, 6), nn.Conv2d(12, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), IMAGE),
    "ResNet with option A": (lambda: nn.Sequential(_block(3, 8), Option(8, 12), _head(12)), IMAGE),
    "ConvNeXt with layer scale": (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1), nn.GELU(), nn.Conv2d(16, 8, 1), Scale(8), _head(8)), IMAGE),
    "CBAM": (lambda: nn.Sequential(_block(3, 8), Spatial(), _head(8)), IMAGE),
    "ECA-Net": (lambda: nn.Sequential(_block(3, 8), EcaGate(), _head(8)), IMAGE),
    "LeNet with tanh": (lambda: nn.Sequential(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, 20), nn.Tanh(), nn.Linear(20, 10)), SMALL),
    "AlexNet-like, leaky": (lambda: nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2), nn.Conv2d(8, 12, 3, padding=1), nn.LeakyReLU(0.1), _head(12)), IMAGE),
    "tiny YOLO head": (lambda: nn.Sequential(_block(3, 8, stride=2, act=lambda: nn.LeakyReLU(0.1)), nn.MaxPool2d(2), nn.Conv2d(8, 15, 1), nn.Sigmoid()), IMAGE),
    "FOMO": (lambda: nn.Sequential(_block(3, 8, stride=2, act=nn.ReLU6), Inverted(8, nn.ReLU6), nn.Conv2d(8, 3, 1), nn.Softmax(1)), IMAGE),
    "U-Net, transposed": (lambda: UNet("transposed"), SMALL),
    "U-Net, nearest": (lambda: UNet("nearest"), SMALL),
    "U-Net, bilinear": (lambda: UNet("bilinear"), SMALL),
    "U-Net, pixel shuffle": (lambda: UNet("shuffle"), SMALL),
    "ESPCN super-resolution": (lambda: nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2), nn.Sigmoid()), SMALL),
    "DCGAN generator": (lambda: nn.Sequential(nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 1, 4, 2, 1), nn.Tanh()), (32,)),
    "DCGAN discriminator": (lambda: nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 12, 4, 2, 1), nn.BatchNorm2d(12), nn.LeakyReLU(0.2), nn.Conv2d(12, 1, 4), nn.Flatten(), nn.Sigmoid()), SMALL),
    "convolutional autoencoder": (lambda: nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3, 2, 1, 1), nn.ReLU(), nn.ConvTranspose2d(6, 1, 3, 2, 1, 1), nn.Sigmoid()), SMALL),
    "style network with reflection": (lambda: nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(3, 8, 5), nn.ReLU(), nn.ReplicationPad2d(1), nn.Conv2d(8, 3, 3), nn.Hardtanh()), IMAGE),
    "denoiser with a global residual": (lambda: Applied(lambda x, body: x - body(x), nn.Sequential(_block(1, 8), nn.Conv2d(8, 1, 3, padding=1))), SMALL),
    "face embedding": (lambda: nn.Sequential(_block(3, 8, stride=2, act=lambda: nn.PReLU(8)), _block(8, 12, stride=2, act=lambda: nn.PReLU(12)), _head(12, 16), Applied(lambda x: functional.normalize(x))), IMAGE),
    "input normalization inside": (lambda: nn.Sequential(Applied(lambda x: (x / 255 - 0.5) / 0.25), _block(3, 8, stride=2), _head(8)), IMAGE),
    "normalization per channel inside": (lambda: nn.Sequential(Applied(lambda x: (x - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)), _block(3, 8, stride=2), _head(8)), IMAGE),
    "classifier with log-softmax": (lambda: nn.Sequential(_block(3, 8, stride=2), _head(8), nn.LogSoftmax(1)), IMAGE),
    "classifier with softmax": (lambda: nn.Sequential(_block(3, 8, stride=2), _head(8), nn.Softmax(1)), IMAGE),
    "Maxout": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Applied(lambda x: torch.maximum(*x.chunk(2, 1))), _head(4)), IMAGE),
    "space to depth stem": (lambda: nn.Sequential(nn.PixelUnshuffle(2), _block(12, 8), _head(8)), IMAGE),
    "channels last at the head": (lambda: nn.Sequential(_block(3, 8, stride=2), Applied(lambda x: x.permute(0, 2, 3, 1).flatten(1)), nn.Linear(512, 4)), IMAGE),
    "mean in steps": (lambda: nn.Sequential(_block(3, 8, stride=2), Applied(lambda x: x.mean(3).mean(2)), nn.Linear(8, 4)), IMAGE),
    "global max pooling": (lambda: nn.Sequential(_block(3, 8, stride=2), Applied(lambda x: x.amax((2, 3))), nn.Linear(8, 4)), IMAGE),
    "GELU spelled out": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Applied(_gelu_tanh), _head(8)), IMAGE),
    "keyword TCN": (lambda: nn.Sequential(nn.Conv1d(8, 12, 3, padding=1), Causal(12, 1, False), Causal(12, 2, False), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 6)), SOUND),
    "keyword TCN with chomp": (lambda: nn.Sequential(nn.Conv1d(8, 12, 3, padding=1), Causal(12, 1, True), Causal(12, 2, True), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(12, 6)), SOUND),
    "WaveNet gate": (lambda: nn.Sequential(nn.Conv1d(8, 12, 1), Gated(12), Gated(12), Applied(lambda x: x.mean(-1)), nn.Linear(12, 6)), SOUND),
    "gated linear units": (lambda: nn.Sequential(LinearUnit(8, 12), LinearUnit(12, 8), Applied(lambda x: x[:, :, -1]), nn.Linear(8, 6)), SOUND),
    "motion CNN": (lambda: nn.Sequential(nn.Conv1d(3, 8, 5, 2), nn.ELU(), nn.MaxPool1d(2), nn.Conv1d(8, 12, 3), nn.ELU(), nn.Flatten(), nn.Linear(108, 5)), MOTION),
    "one-dimensional autoencoder": (lambda: nn.Sequential(nn.Conv1d(3, 8, 4, 2, 1), nn.SiLU(), nn.Conv1d(8, 6, 4, 2, 1), nn.SiLU(), nn.ConvTranspose1d(6, 8, 4, 2, 1), nn.SiLU(), nn.ConvTranspose1d(8, 3, 4, 2, 1)), MOTION),
    "MLP with SELU": (lambda: _mlp(20, 24, 16, 4, act=nn.SELU), (20,)),
    "MLP with Mish and softplus": (lambda: nn.Sequential(_mlp(20, 24, 16, 4, act=nn.Mish), nn.Softplus()), (20,)),
    "anomaly autoencoder": (lambda: nn.Sequential(_mlp(64, 16, 4, 16, 64), Applied(lambda x: x)), (64,)),
    "highway MLP": (lambda: Applied(lambda x, t, h: torch.sigmoid(t(x)) * torch.relu(h(x)) + (1 - torch.sigmoid(t(x))) * x, nn.Linear(16, 16), nn.Linear(16, 16)), (16,)),
    "ResNet with group norm": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.GroupNorm(4, 12), nn.ReLU(), _head(12)), IMAGE),
    "style network with instance norm": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh()), IMAGE),
    "ConvNeXt block": (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), ConvNext(8), _head(8)), IMAGE),
    "vision transformer with class token": (lambda: Vision(16, 2, False), IMAGE),
    "vision transformer, normalized first": (lambda: Vision(24, 3, True), IMAGE),
    "attention with products of matrices": (lambda: nn.Sequential(nn.Linear(10, 16), Attention(16, 4), Applied(lambda x: x.mean(1)), nn.Linear(16, 5)), (12, 10)),
    "MLP-Mixer": (lambda: nn.Sequential(nn.Linear(10, 16), Mixer(12, 16), Applied(lambda x: x.mean(1)), nn.Linear(16, 5)), (12, 10)),
    "audio transformer": (lambda: nn.Sequential(nn.Conv1d(8, 16, 3, 2, 1), Applied(lambda x: x.transpose(1, 2)), nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), Applied(lambda x: x.mean(1)), nn.Linear(16, 6)), SOUND),
    "sound with layer norm": (lambda: nn.Sequential(nn.Conv1d(8, 12, 5, padding=2), Applied(lambda x, n: n(x.transpose(1, 2)).transpose(1, 2), nn.LayerNorm(12)), nn.SiLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 6)), SOUND),
    "detector with two scales": (Detector, IMAGE),
    "fusion of image and sensors": (Fusion, {"image": IMAGE, "sensors": (6,)}),
    "Siamese comparison": (lambda: Applied(lambda pair, body, last: last(torch.cat([body(pair["first"]), body(pair["second"])], 1)), nn.Sequential(_block(1, 8, stride=2), _head(8, 6)), nn.Linear(12, 4)), {"first": SMALL, "second": SMALL}),
    "vision transformer": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (12, 16)),
    "recurrent network": (lambda: Applied(lambda x, gru: gru(x)[0][:, -1], nn.GRU(8, 12, batch_first=True)), (32, 8)),
}  # fmt: skip
