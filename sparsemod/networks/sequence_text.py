"""The definition of a network as a sequence of layers, as text. Imports no torch.

Layers are separated by commas or line breaks:

conv FILTERS [KERNEL] [stride S] [valid]     convolution, kernel 3, padded to the size of its input / S unless `valid`
max SIZE [STRIDE] [valid], average SIZE ...  pooling, stride SIZE; `average` alone: the mean over all positions
fc WIDTH                                     linear layer; the first one flattens
batch_norm, dropout SHARE
relu, leaky_relu, relu6, sigmoid, tanh, elu, softmax
activation                                   the activation that is searched
output                                       linear layer with an output for each class; the last layer where none is named
residual ... end                             the sum of these layers and their input, with a 1 x 1 convolution where shapes differ
"""

import re
from dataclasses import dataclass

from sparsemod.errors import InvalidInput

ACTIVATIONS = ("relu", "leaky_relu", "relu6", "sigmoid", "tanh", "elu", "softmax")
MOST = 65_536
_OPTION = "layers"
_ALLOWED = "conv, max, average, fc, batch_norm, dropout, activation, output, residual, end or " + ", ".join(
    ACTIVATIONS
)


@dataclass(frozen=True)
class Step:
    """A layer: its kind and numbers, and for a residual the steps inside.

    conv: (filters, kernel, stride); max, average: (size, stride), none for the mean; fc: (width,); dropout: (share,).
    """

    kind: str
    numbers: tuple[float, ...] = ()
    valid: bool = False
    inside: "tuple[Step, ...]" = ()


def parse_sequence(text: object) -> tuple[Step, ...]:
    """Return the layers of a definition, with `output` at the end where the text names none.

    Raises InvalidInput that names the layer and its place, counted from 1.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(_OPTION, text, "layers, separated by commas or line breaks")
    stack: list[list[Step]] = [[]]
    items = [item.strip() for item in re.split(r"[,\n]", text) if item.strip()]
    for place, item in enumerate(items, 1):
        if item == "residual":
            stack.append([])
        elif item == "end":
            if len(stack) == 1 or not stack[-1]:
                raise InvalidInput(_OPTION, f"layer {place}: end", "a residual with layers before it")
            inside = tuple(stack.pop())
            stack[-1].append(Step("residual", inside=inside))
        else:
            stack[-1].append(_step(item, place))
    if len(stack) > 1:
        raise InvalidInput(_OPTION, "residual", "an `end` for each residual")
    steps = tuple(stack[0])
    outputs = [place for place, step in enumerate(_all(steps)) if step.kind == "output"]
    if len(outputs) > 1 or (outputs and not any(step.kind == "output" for step in steps)):
        raise InvalidInput(_OPTION, "output", "one output, in no residual")
    return steps if outputs else (*steps, Step("output"))


def searches_activation(steps: tuple[Step, ...]) -> bool:
    """Return whether a layer is the activation that is searched."""
    return any(step.kind == "activation" for step in _all(steps))


def _all(steps: tuple[Step, ...]) -> list[Step]:
    return [one for step in steps for one in (step, *_all(step.inside))]


def _step(item: str, place: int) -> Step:
    kind, *words = item.split()
    where = f"layer {place}: {item}"
    valid = "valid" in words
    words = [word for word in words if word != "valid"]
    stride = None
    if "stride" in words:
        at = words.index("stride")
        stride, words = words[at + 1 : at + 2], words[:at] + words[at + 2 :]
    if kind == "conv" and 1 <= len(words) <= 2 and stride != []:
        filters, kernel, step = words[0], words[1] if len(words) > 1 else "3", stride[0] if stride else "1"
        return Step(kind, _whole((filters, kernel, step), where), valid)
    if kind in ("max", "average") and 1 <= len(words) <= 2 and stride is None:
        return Step(kind, _whole((words[0], words[-1]), where), valid)
    if kind == "average" and not words and stride is None and not valid:
        return Step(kind)
    if valid or stride is not None:
        raise InvalidInput(_OPTION, where, "`stride` and `valid` with conv, `valid` with max and average")
    if kind == "fc" and len(words) == 1:
        return Step(kind, _whole((words[0],), where))
    if kind == "dropout" and len(words) == 1:
        return Step(kind, (_share(words[0], where),))
    if not words and (kind in ACTIVATIONS or kind in ("batch_norm", "activation", "output")):
        return Step(kind)
    raise InvalidInput(_OPTION, where, f"{_ALLOWED}, with its numbers")


def _whole(words: tuple[str, ...], where: str) -> tuple[float, ...]:
    for word in words:
        if not re.fullmatch(r"[1-9][0-9]{0,4}", word) or int(word) > MOST:
            raise InvalidInput(_OPTION, where, f"whole numbers from 1 to {MOST}; {word!r} is none")
    return tuple(map(int, words))


def _share(word: str, where: str) -> float:
    if not re.fullmatch(r"0(\.[0-9]+)?", word):
        raise InvalidInput(_OPTION, where, f"a share from 0 to below 1; {word!r} is none")
    return float(word)
