"""Initial weights of the built-in families."""

from torch import nn


def he_normal(module: nn.Module, linear: tuple[str, ...] = ()) -> None:
    """Normal weights of variance 2 / fan-in, and zero biases, from torch's global generator. Layers whose last name is in `linear` (no relu
    follows them) get 1 / fan-in.

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            if name.rpartition(".")[2] in linear:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
