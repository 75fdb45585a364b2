"""Random recurrent networks for calibration."""

import numpy as np
from torch import Tensor, nn

SHAPES = ((3, 24), (6, 40), (12, 29), (16, 50))


class Recurrent(nn.Module):
    """A recurrent layer on a sequence (channels, length); a linear layer reads its last step, or the mean over its steps."""

    def __init__(self, layer: nn.RNNBase, width: int, classes: int, mean: bool) -> None:
        super().__init__()
        self.layer, self.mean, self.classifier = layer, mean, nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        steps = self.layer(x.transpose(1, 2))[0]
        scores: Tensor = self.classifier(steps.mean(1) if self.mean else steps[:, -1])
        return scores


def recurrent_network(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    """Return (module, input shape): one or two layers of GRU or LSTM, in one or both directions."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    units, both = int(rng.integers(4, 40)), bool(rng.integers(2))
    kind = (nn.GRU, nn.LSTM)[rng.integers(2)]
    layer = kind(shape[0], units, int(rng.integers(1, 3)), batch_first=True, bidirectional=both)
    return Recurrent(
        layer, units * (2 if both else 1), int(rng.integers(2, 20)), bool(rng.integers(2))
    ), shape
