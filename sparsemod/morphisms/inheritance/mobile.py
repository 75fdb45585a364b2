"""Inheritance in the family `mobile`."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparsemod.errors import BuildError
from sparsemod.morphisms.inheritance.affine import LayoutMismatch, read
from sparsemod.morphisms.inheritance.align import Pairs, align
from sparsemod.morphisms.inheritance.dense import DenseLayer, Vector, inherit_dense
from sparsemod.morphisms.inheritance.generic import initial_state, or_generic
from sparsemod.morphisms.inheritance.mobile_blocks import carry_block, insert_block, outputs_of, remove_block
from sparsemod.morphisms.inheritance.result import Inheritance
from sparsemod.morphisms.inheritance.signal import Signal
from sparsemod.networks.mobile_plan import MobilePlan, plan
from sparsemod.records import DataInfo, Value


@or_generic(LayoutMismatch, BuildError)
def inherit_mobile(
    parent_parameters: Mapping[str, Value],
    parent_state: Mapping[str, Tensor],
    child_parameters: Mapping[str, Value],
    child_module: nn.Module,
    data: DataInfo,
) -> Inheritance:
    """See `sparsemod.morphisms.inherit`."""
    state = initial_state(child_module)
    parent, child = plan(parent_parameters, data), plan(child_parameters, data)
    return _inherit(parent, parent_state, child, state, data)


def _inherit(
    parent: MobilePlan,
    parent_state: Mapping[str, Tensor],
    child: MobilePlan,
    state: dict[str, Tensor],
    data: DataInfo,
) -> Inheritance:
    signal = Signal.of_input(data.axes.image(data.shape)[0])
    exact, notes = True, list[str]()
    widths = [outputs_of(parent_state, block) for block in parent.blocks]
    for i, j in _pairs(parent, child, widths):
        if j is None:
            origin = parent.blocks[i or 0]
            signal, preserved, changes = remove_block(parent_state, origin, signal)
            name = f"{origin.name} of the parent"
        elif i is None:
            signal, preserved, changes = insert_block(state, child.blocks[j], signal)
            name = child.blocks[j].name
        else:
            origin, block = parent.blocks[i], child.blocks[j]
            signal, preserved, changes = carry_block(state, parent_state, origin, block, signal)
            name = block.name if origin.name == block.name else f"{block.name} from {origin.name}"
            if origin.name != block.name and not changes:
                notes.append(name)
        notes += [f"{name}: {'; '.join(changes)}"] if changes else []
        exact &= preserved
    if parent.head != child.head:
        notes.append(f"head: {parent.head}->{child.head}")
    preserved, changes = inherit_dense(
        [read(parent_state, f"head.{name}.weight", "head.none") for name in _dense(parent)],
        [DenseLayer(f"head.{name}.weight", "head.none") for name in _dense(child)],
        Vector(signal, _area(parent), _area(child)),
        state,
    )
    return Inheritance(state, exact and preserved, (*notes, *changes))


def _pairs(parent: MobilePlan, child: MobilePlan, widths: list[int]) -> Pairs:
    """Align the blocks; `widths` are the channels of the parent's blocks."""

    def match(i: int, j: int) -> float | None:
        a, b = parent.blocks[i], child.blocks[j]
        if a.type != b.type:
            return None
        old, new = widths[i], b.outputs
        cost = 0.5 * (1 - new / old) if new < old else 0.2 * (1 - old / new)
        cost += 0.3 * (a.down != b.down) + 0.3 * (a.residual != b.residual) + 0.05 * (a.join != b.join)
        cost += 0.1 * (len(a.kernels) != len(b.kernels)) + 0.02 * abs(sum(a.kernels) - sum(b.kernels))
        return cost + 0.1 * (a.inner > b.inner) + 0.05 * (a.inner < b.inner)

    def insert(i: int, j: int) -> float:
        block = child.blocks[j]
        positive = i > 0 and parent.blocks[i - 1].type != "inverted"
        fits = block.residual or (positive and block.type != "inverted" and block.outputs >= widths[i - 1])
        return 1.0 if fits and block.down == "none" else 1.5

    return align(len(parent.blocks), len(child.blocks), match, lambda i, j: 1.0, insert)


def _dense(planned: MobilePlan) -> list[str]:
    return [f"d{i}" for i in range(1, len(planned.dense) + 1)] + ["classifier"]


def _area(planned: MobilePlan) -> tuple[int, int] | None:
    """Return height and width of the flattened feature map; None after a global average."""
    return planned.size if planned.head == "flatten" else None
