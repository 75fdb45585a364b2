"""Inheritance in the families `cnn` and `cnn1d`."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from sparsemod.errors import BuildError
from sparsemod.morphisms.inheritance.affine import Affine, LayoutMismatch, read
from sparsemod.morphisms.inheritance.align import align
from sparsemod.morphisms.inheritance.convolution import Taps, carry, insert
from sparsemod.morphisms.inheritance.dense import DenseLayer, Vector, inherit_dense
from sparsemod.morphisms.inheritance.generic import initial_state, or_generic
from sparsemod.morphisms.inheritance.result import Inheritance
from sparsemod.morphisms.inheritance.signal import Signal, skipping
from sparsemod.networks.cnn_plan import CnnLayer, CnnPlan, plan
from sparsemod.records import DataInfo, Value


@dataclass(frozen=True)
class _Halving:
    """A pooling that halves the feature map."""

    name: str


@or_generic(LayoutMismatch, BuildError)  # BuildError: the parent needs longer windows of sequences
def inherit_cnn(
    parent_parameters: Mapping[str, Value],
    parent_state: Mapping[str, Tensor],
    child_parameters: Mapping[str, Value],
    child_module: nn.Module,
    data: DataInfo,
) -> Inheritance:
    """See `sparsemod.morphisms.inherit`."""
    state = initial_state(child_module)
    parent, child = plan(parent_parameters, data), plan(child_parameters, data)
    return _inherit(parent, parent_state, child, state, data, bool(getattr(child_module, "causal", False)))


def _inherit(
    parent: CnnPlan,
    parent_state: Mapping[str, Tensor],
    child: CnnPlan,
    state: dict[str, Tensor],
    data: DataInfo,
    causal: bool,
) -> Inheritance:
    channels = data.axes.image(data.shape)[0]
    old, new = _tokens(parent), _tokens(child)
    layers = {token.name: _read(parent_state, token) for token in old if isinstance(token, CnnLayer)}
    signal = Signal.of_input(channels)
    exact, notes = True, list[str]()
    for i, j in _pairs(old, new, layers, channels):
        token = new[j] if j is not None else old[i or 0]
        origin = old[i] if i is not None else None
        if isinstance(token, _Halving):
            if i is None or j is None:
                exact = False
                what = "image" if len(data.axes.positions) == 2 else "sequence"
                notes.append(
                    f"{token.name}: the {what} is {'no longer' if j is None else 'newly'} halved here"
                )
            continue
        if j is None:
            signal, preserved = skipping(signal, layers[token.name]), False
            notes.append(f"{token.name} of the parent: removed")
        elif origin is None:
            signal, preserved, changes = insert(state, f"features.{token.name}", signal, _taps(token, causal))
            notes += [f"{token.name}: {note}" for note in changes]
        else:
            signal, preserved, changes = carry(
                state, f"features.{token.name}", layers[origin.name], signal, _taps(origin, causal), _taps(token, causal)
            )  # fmt: skip
            if changes:
                notes.append(f"{token.name} from {origin.name}: {'; '.join(changes)}")
            elif origin.name != token.name:
                notes.append(f"{token.name} from {origin.name}")
        exact &= preserved
    first = read(parent_state, f"head.{_dense(parent)[0]}.weight", "head.none")
    area, windows = _area(parent), False
    if area is not None and area[0] == 1:  # the parent may have read windows of another length
        area = (1, int(first.weight.shape[1]) // signal.parents)
        windows = area != _area(parent) and parent.halvings == child.halvings
    vector = Vector(signal, area, _area(child), windows)
    if parent.head != child.head:
        notes.append(f"head: {parent.head}->{child.head}")
    preserved, changes = inherit_dense(
        [read(parent_state, f"head.{name}.weight", "head.none") for name in _dense(parent)],
        [DenseLayer(f"head.{name}.weight", "head.none") for name in _dense(child)],
        vector,
        state,
    )
    return Inheritance(state, exact and preserved, (*notes, *changes))


def _taps(layer: CnnLayer | _Halving, causal: bool) -> Taps:
    if isinstance(layer, _Halving):
        raise TypeError(f"{layer.name} has no kernel")
    return Taps(layer.kernel, layer.dilation, causal)


def _tokens(planned: CnnPlan) -> list[CnnLayer | _Halving]:
    """Return layers and halvings in order; a "down" layer gives a halving and a convolution."""
    tokens: list[CnnLayer | _Halving] = []
    for number, (layers, pool) in enumerate(planned.blocks, 1):
        for layer in layers:
            tokens += [_Halving(f"{layer.name} (down)"), layer] if layer.type == "down" else [layer]
        tokens += [_Halving(f"b{number}_pool")] if pool else []
    return tokens


def _pairs(
    old: list[CnnLayer | _Halving],
    new: list[CnnLayer | _Halving],
    layers: Mapping[str, Affine],
    channels: int,
) -> list[tuple[int | None, int | None]]:
    def entering(i: int) -> int:
        """Return the parent's channels after its first i tokens; 0 at the input."""
        outputs = [layers[token.name].outputs for token in old[:i] if isinstance(token, CnnLayer)]
        return outputs[-1] if outputs else 0

    def match(i: int, j: int) -> float | None:
        a, b = old[i], new[j]
        if isinstance(a, _Halving) and isinstance(b, _Halving):
            return 0.0
        if isinstance(a, _Halving) or isinstance(b, _Halving):
            return None
        separable = (a.type == "separable", b.type == "separable")
        cost = {(True, False): 0.2, (False, True): 0.5}.get(separable, 0.0)
        outputs = layers[a.name].outputs
        cost += 0.5 * (1 - b.filters / outputs) if b.filters < outputs else 0.2 * (1 - outputs / b.filters)
        return cost + (0.05 * (b.kernel - a.kernel) if b.kernel > a.kernel else 0.1 * (a.kernel - b.kernel))

    def remove(i: int, j: int) -> float:
        return 0.8 if isinstance(old[i], _Halving) else 1.0

    def insert_(i: int, j: int) -> float:
        token = new[j]
        if isinstance(token, _Halving):
            return 0.8
        needed = entering(i) or 2 * channels
        return 1.0 if token.filters >= needed else 1.5

    return align(len(old), len(new), match, remove, insert_)


def _read(state: Mapping[str, Tensor], layer: CnnLayer) -> Affine:
    prefix = f"features.{layer.name}"
    if layer.type == "separable":
        found = read(state, f"{prefix}.pointwise.weight", f"{prefix}.norm", f"{prefix}.depthwise.weight")
    else:
        found = read(state, f"{prefix}.conv.weight", f"{prefix}.norm")
    kernel = int(found.dense().shape[-1])
    if kernel != layer.kernel:
        raise LayoutMismatch(f"a kernel of {kernel} in {layer.name}, expected {layer.kernel}")
    return found


def _area(planned: CnnPlan) -> tuple[int, int] | None:
    """Return height and width of the flattened feature map; None after a global average."""
    return planned.size if planned.head == "flatten" else None


def _dense(planned: CnnPlan) -> list[str]:
    return [f"d{i}" for i in range(1, len(planned.dense) + 1)] + ["classifier"]
