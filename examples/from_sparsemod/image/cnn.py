"""Network builder, search space and morphisms of a SpArSeMod project, as its user has written them."""

import random

from ax.core.parameter import ParameterType, RangeParameter
from ax.core.search_space import SearchSpace
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub, fuse_modules


class ConvBNReLU(nn.Sequential):
    def __init__(self, inputs, outputs, kernel):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Net(nn.Module):
    """Convolutions, the mean of each channel, an optional dense layer, and a classifier."""

    def __init__(self, parametrization, classes=10, input_shape=None):
        super().__init__()
        self.parametrization = parametrization
        channels, layers = input_shape[0], []
        for i in range(1, parametrization.get("num_conv_layers", 1) + 1):
            filters = parametrization.get(f"conv_{i}_filters", 6)
            layers.append(ConvBNReLU(channels, filters, parametrization.get(f"conv_{i}_kernel", 3)))
            layers.append(nn.Dropout(parametrization.get("drop", 0.2)))
            channels = filters
        if parametrization.get("downsample_input"):
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.fc = nn.Sequential()
        if parametrization.get("num_fc_layers"):
            width = parametrization.get("fc_weights")
            self.fc = nn.Sequential(nn.Linear(channels, width), nn.ReLU())
            channels = width
        self.classifier = nn.Linear(channels, classes)
        self.quant, self.dequant = QuantStub(), DeQuantStub()

    def forward(self, x):
        out = self.features(self.quant(x)).mean([2, 3])
        return self.dequant(self.classifier(self.fc(out)))

    def fuse_model(self):
        for module in self.modules():
            if type(module) is ConvBNReLU:
                fuse_modules(module, ["0", "1", "2"], inplace=True)


def search_space():
    def whole(name, low, high):
        return RangeParameter(name=name, lower=low, upper=high, parameter_type=ParameterType.INT)

    def real(name, low, high, log=False):
        return RangeParameter(
            name=name, lower=low, upper=high, parameter_type=ParameterType.FLOAT, log_scale=log
        )

    return SearchSpace(
        parameters=[
            whole("num_conv_layers", 1, 3),
            *(whole(f"conv_{i}_filters", 2, 24) for i in (1, 2, 3)),
            *(whole(f"conv_{i}_kernel", 2, 5) for i in (1, 2, 3)),
            whole("downsample_input", 0, 1),
            whole("num_fc_layers", 0, 1),
            whole("fc_weights", 10, 60),
            real("drop", 0.0, 0.3),
            real("learning_rate", 1e-3, 3e-2, log=True),
            real("learning_gamma", 0.9, 0.99),
            whole("learning_step", 1, 3),
            real("prune_threshold", 0.05, 0.9),
            whole("batch_size", 16, 128),
        ]
    )


def num_conv_layers(config):
    config["num_conv_layers"] += random.choice([-1, 1])
    return config


def num_conv_filters(config):
    layer = random.randint(1, config["num_conv_layers"])
    config[f"conv_{layer}_filters"] = random.randint(1, 50)
    return config


def kernel_size(config):
    layer = random.randint(1, config["num_conv_layers"])
    config[f"conv_{layer}_kernel"] = random.randint(2, 5)
    return config


def num_fc_layers(config):
    config["num_fc_layers"] = 1 - config["num_fc_layers"]
    return config


operations = {
    "num_conv_layers": num_conv_layers,
    "num_conv_filters": num_conv_filters,
    "kernel_size": kernel_size,
    "num_fc_layers": num_fc_layers,
}
