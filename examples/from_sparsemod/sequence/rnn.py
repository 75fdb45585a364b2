"""Network builder, search space and morphisms of a SpArSeMod project with sequences, as its user has written them."""

import random

from ax.core.parameter import ChoiceParameter, ParameterType, RangeParameter
from ax.core.search_space import SearchSpace
from torch import nn


class Net(nn.Module):
    """Recurrent layers over a window of a sequence (N, max_len, features), and a classifier of their last output."""

    def __init__(self, parametrization, classes=10, input_shape=None):
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[parametrization.get("cell", "gru")]
        units = parametrization.get("units", 16)
        self.rnn = kind(input_shape[1], units, parametrization.get("num_rnn_layers", 1), batch_first=True)
        self.classifier = nn.Linear(units, classes)

    def forward(self, x):
        return self.classifier(self.rnn(x)[0][:, -1])


def search_space():
    return SearchSpace(
        parameters=[
            RangeParameter("num_rnn_layers", ParameterType.INT, 1, 2),
            RangeParameter("units", ParameterType.INT, 4, 24),
            ChoiceParameter(
                "cell", ParameterType.STRING, ["gru", "lstm"], is_ordered=False, sort_values=False
            ),
            RangeParameter("max_len", ParameterType.INT, 8, 24),
            RangeParameter("learning_rate", ParameterType.FLOAT, 1e-3, 3e-2, log_scale=True),
            RangeParameter("learning_gamma", ParameterType.FLOAT, 0.9, 0.99),
            RangeParameter("learning_step", ParameterType.INT, 1, 3),
            RangeParameter("prune_threshold", ParameterType.FLOAT, 0.05, 0.9),
            RangeParameter("batch_size", ParameterType.INT, 8, 64),
        ]
    )


def num_rnn_layers(config):
    config["num_rnn_layers"] = 3 - config["num_rnn_layers"]
    return config


def rnn_units(config):
    config["units"] += random.choice([-4, -1, 1, 4])
    return config


def max_len(config):
    config["max_len"] += random.choice([-4, -2, 2, 4])
    return config


operations = {"num_rnn_layers": num_rnn_layers, "rnn_units": rnn_units, "max_len": max_len}
