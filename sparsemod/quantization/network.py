"""The interface of deployed networks, integer or float, for accuracy, size measurement and exporters."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput


@dataclass(frozen=True)
class LayerInfo:
    """One deployed layer. Shapes exclude the batch; `weights` and `nonzeros` count weights without biases; the other numbers are bytes."""

    name: str
    kind: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    macs: int
    weights: int
    nonzeros: int
    weight_bytes: int
    bias_bytes: int


class Quantized(Protocol):
    """A trained network in deployed form. `images` are float (N, *input shape), `labels` int (N,).

    `lengths` (N,) are the valid steps of each sample, for a network that uses them; without it every step is valid.
    """

    title: ClassVar[str]  # the kind of network for use in a sentence: "integer network"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        ...

    def logits(self, images: Any, lengths: Any = None) -> NDArray[np.float32]:
        """Return the real outputs (N, classes)."""
        ...

    def seen(self, images: Any) -> NDArray[np.float32]:
        """Return the samples (N, *input shape) as the network reads them: an integer network rounds them to its input's steps."""
        ...

    def predict(self, images: Any, lengths: Any = None) -> NDArray[np.int64]:
        """Return the class of each image (N,): the index of the largest output, the first of equal ones."""
        ...

    def error(self, images: Any, labels: Any, lengths: Any = None) -> float:
        """Return the share of wrong predictions, 0 to 1."""
        ...

    def layers_info(self) -> tuple[LayerInfo, ...]:
        """Return each layer in execution order."""
        ...

    def nonzeros(self) -> int:
        """Weights that are not zero, biases not counted."""
        ...

    def layer_nonzeros(self) -> Mapping[str, int]:
        """`nonzeros` of each layer with weights, by the layer's name."""
        ...

    def weight_bytes(self) -> int:
        """Bytes of weights and biases, stored densely."""
        ...

    def to_bytes(self) -> bytes:
        """Return the file content; equal networks give equal bytes."""
        ...


def best(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index of the largest output in each row (N, classes), the first of equal ones."""
    return np.asarray(np.argmax(outputs.reshape(len(outputs), -1), axis=1), dtype=np.int64)


def sized(images: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return `images` (array or tensor on the CPU) as an array (N, *shape). Raises InvalidInput for another shape."""
    array = np.asarray(images)
    if array.shape[1:] != shape:
        raise InvalidInput("images", array.shape, f"shape (N, {', '.join(map(str, shape))})")
    return array


def by_name(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the arrays in the order of `names`. Raises InvalidInput for other names."""
    if set(given) != set(names):
        raise InvalidInput("inputs", sorted(given), f"exactly {', '.join(names)}")
    return {name: np.asarray(given[name]) for name in names}


def checked_lengths(count: int, steps: int, lengths: Any = None) -> NDArray[np.int64]:
    """Return the valid steps of `count` samples of `steps` steps as int64, all of them without `lengths`.

    Raises InvalidInput unless `lengths` (N,) are whole numbers from 1 to `steps`."""
    if lengths is None:
        return np.full(count, steps, np.int64)
    array = np.asarray(lengths)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise InvalidInput("lengths", (str(array.dtype), array.shape), f"{count} whole numbers")
    if count and not 1 <= array.min() <= array.max() <= steps:
        raise InvalidInput("lengths", (int(array.min()), int(array.max())), f"1 to {steps}")
    return array.astype(np.int64)


class Evaluation:
    """Implements `predict`, `error` and the sums over layers with `logits` and `layers_info`."""

    def logits(self, images: Any, lengths: Any = None) -> NDArray[np.float32]:
        """See Quantized."""
        raise NotImplementedError

    def layers_info(self) -> tuple[LayerInfo, ...]:
        """See Quantized."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """See Quantized."""
        raise NotImplementedError

    def seen(self, images: Any) -> NDArray[np.float32]:
        """See Quantized."""
        return np.asarray(images, dtype=np.float32)

    def predict(self, images: Any, lengths: Any = None) -> NDArray[np.int64]:
        """See Quantized."""
        return best(self.logits(images, lengths))

    def error(self, images: Any, labels: Any, lengths: Any = None) -> float:
        """See Quantized. Raises InvalidInput when the numbers of images and labels differ or are zero."""
        expected = np.asarray(labels).reshape(-1)
        predictions = self.predict(images, lengths)
        if len(predictions) != len(expected) or not len(predictions):
            raise InvalidInput(
                "labels", expected.shape, f"one label for each of the {len(predictions)} images, at least one"
            )
        return float(np.mean(predictions != expected))

    def nonzeros(self) -> int:
        """See Quantized."""
        return sum(info.nonzeros for info in self.layers_info())

    def layer_nonzeros(self) -> Mapping[str, int]:
        """See Quantized."""
        return {info.name: info.nonzeros for info in self.layers_info() if info.weights}

    def weight_bytes(self) -> int:
        """See Quantized."""
        return sum(info.weight_bytes + info.bias_bytes for info in self.layers_info())

    def save(self, path: Path | str) -> None:
        """Write `to_bytes()` to a file."""
        Path(path).write_bytes(self.to_bytes())
