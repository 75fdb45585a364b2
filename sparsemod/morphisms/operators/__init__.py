"""The operators, one file each, and the operators of the built-in families."""

from sparsemod.morphisms.genes import CnnGenes
from sparsemod.morphisms.mobile_genes import MobileGenes
from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.operators.add_block import AddBlock
from sparsemod.morphisms.operators.add_dense import AddDense
from sparsemod.morphisms.operators.add_layer import AddLayer
from sparsemod.morphisms.operators.change_dilation import ChangeDilation
from sparsemod.morphisms.operators.change_head import ChangeHead
from sparsemod.morphisms.operators.change_pooling import ChangePooling
from sparsemod.morphisms.operators.change_type import ChangeType
from sparsemod.morphisms.operators.change_value import ChangeDropout, ChangeSetting, ChangeValue
from sparsemod.morphisms.operators.change_window import ChangeWindow
from sparsemod.morphisms.operators.dense_names import CNN_DENSE, MLP_DENSE
from sparsemod.morphisms.operators.grow_kernel import GrowKernel
from sparsemod.morphisms.operators.mobile_blocks import (
    AddMobileBlock,
    NarrowBlocks,
    SwitchStem,
    WidenBlocks,
)
from sparsemod.morphisms.operators.mobile_parts import (
    AddBranch,
    AddSqueeze,
    ChangeBlockType,
    ChangeDown,
    ChangeJoin,
    LowerExpansion,
    NarrowSqueeze,
    RaiseExpansion,
    RemoveBranch,
    RemoveSqueeze,
    WidenSqueeze,
)
from sparsemod.morphisms.operators.narrow import Narrow
from sparsemod.morphisms.operators.own_operation import OwnOperation
from sparsemod.morphisms.operators.recurrent import (
    AddDirection,
    AddRecurrent,
    ChangeCell,
    ChangeReadout,
    RemoveDirection,
    RemoveRecurrent,
)
from sparsemod.morphisms.operators.remove_block import RemoveBlock
from sparsemod.morphisms.operators.remove_dense import RemoveDense
from sparsemod.morphisms.operators.remove_layer import RemoveLayer
from sparsemod.morphisms.operators.shrink_kernel import ShrinkKernel
from sparsemod.morphisms.operators.temporal import AddConv, RemoveConv
from sparsemod.morphisms.operators.widen import Widen

CNN: tuple[Morphism, ...] = (
    AddLayer(),
    RemoveLayer(),
    AddBlock(),
    RemoveBlock(CnnGenes),
    AddDense(CNN_DENSE),
    RemoveDense(CNN_DENSE),
    ChangeType(),
    GrowKernel(r"(b\d+_l\d+)_kernel"),
    ShrinkKernel(r"(b\d+_l\d+)_kernel"),
    Widen(r"(b\d+_l\d+)_filters"),
    Narrow(r"(b\d+_l\d+)_filters"),
    Widen(r"(d\d+)_width"),
    Narrow(r"(d\d+)_width"),
    ChangePooling(),
    ChangeHead(),
    ChangeDropout(),
    ChangeSetting(r"blocks|b\d+_.*|head|dense|d\d+_width|dropout"),
)

CNN1D: tuple[Morphism, ...] = (*CNN, ChangeDilation(), ChangeWindow())

_KERNELS = r"(stem|b\d+|b\d+_p\d+)_kernel"

MOBILE: tuple[Morphism, ...] = (
    AddMobileBlock(),
    RemoveBlock(MobileGenes),
    SwitchStem(),
    WidenBlocks(),
    NarrowBlocks(),
    GrowKernel(_KERNELS),
    ShrinkKernel(_KERNELS),
    RaiseExpansion(r"(b\d+)_expansion"),
    LowerExpansion(r"(b\d+)_expansion"),
    AddSqueeze(),
    RemoveSqueeze(),
    WidenSqueeze(r"(b\d+)_ratio"),
    NarrowSqueeze(r"(b\d+)_ratio"),
    AddBranch(),
    RemoveBranch(),
    ChangeJoin(),
    ChangeDown(),
    ChangeBlockType(),
    AddDense(CNN_DENSE),
    RemoveDense(CNN_DENSE),
    Widen(r"(d\d+)_width"),
    Narrow(r"(d\d+)_width"),
    ChangeHead(),
    ChangeDropout(),
    ChangeSetting(r"stem(_.*)?|blocks|b\d+_.*|head|dense|d\d+_width|dropout"),
)

MLP: tuple[Morphism, ...] = (
    AddDense(MLP_DENSE),
    RemoveDense(MLP_DENSE),
    Widen(r"(l\d+)_width"),
    Narrow(r"(l\d+)_width"),
    ChangeWindow(),
    ChangeDropout(),
    ChangeSetting(r"layers|l\d+_width|dropout"),
)

_RECURRENT: tuple[Morphism, ...] = (
    AddRecurrent(),
    RemoveRecurrent(),
    Widen(r"(units)"),
    Narrow(r"(units)"),
    ChangeCell(),
    AddDirection(),
    RemoveDirection(),
    ChangeReadout(),
    ChangeWindow(),
    AddDense(CNN_DENSE),
    RemoveDense(CNN_DENSE),
    Widen(r"(d\d+)_width"),
    Narrow(r"(d\d+)_width"),
    ChangeDropout(),
)
_RECURRENT_NAMES = r"cell|layers|units|bidirectional|readout|dense|d\d+_width|dropout"

RNN: tuple[Morphism, ...] = (*_RECURRENT, ChangeSetting(_RECURRENT_NAMES))

CNN_RNN: tuple[Morphism, ...] = (
    AddConv(),
    RemoveConv(),
    Widen(r"(c\d+)_filters"),
    Narrow(r"(c\d+)_filters"),
    GrowKernel(r"(c\d+)_kernel"),
    ShrinkKernel(r"(c\d+)_kernel"),
    ChangePooling(),
    *_RECURRENT,
    ChangeSetting(rf"convs|c\d+_.*|{_RECURRENT_NAMES}"),
)

ANY: tuple[Morphism, ...] = (ChangeValue(),)

__all__ = ["ANY", "CNN", "CNN1D", "CNN_RNN", "MLP", "MOBILE", "RNN", "OwnOperation"]
