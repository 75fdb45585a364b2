"""The operators, one file each, and the operators of the built-in families."""

from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.operators.add_block import AddBlock
from sparsemod.morphisms.operators.add_dense import AddDense
from sparsemod.morphisms.operators.add_layer import AddLayer
from sparsemod.morphisms.operators.change_head import ChangeHead
from sparsemod.morphisms.operators.change_pooling import ChangePooling
from sparsemod.morphisms.operators.change_type import ChangeType
from sparsemod.morphisms.operators.change_value import ChangeDropout, ChangeSetting, ChangeValue
from sparsemod.morphisms.operators.dense_names import CNN_DENSE, MLP_DENSE
from sparsemod.morphisms.operators.grow_kernel import GrowKernel
from sparsemod.morphisms.operators.narrow import Narrow
from sparsemod.morphisms.operators.own_operation import OwnOperation
from sparsemod.morphisms.operators.remove_block import RemoveBlock
from sparsemod.morphisms.operators.remove_dense import RemoveDense
from sparsemod.morphisms.operators.remove_layer import RemoveLayer
from sparsemod.morphisms.operators.shrink_kernel import ShrinkKernel
from sparsemod.morphisms.operators.widen import Widen

CNN: tuple[Morphism, ...] = (
    AddLayer(),
    RemoveLayer(),
    AddBlock(),
    RemoveBlock(),
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

MLP: tuple[Morphism, ...] = (
    AddDense(MLP_DENSE),
    RemoveDense(MLP_DENSE),
    Widen(r"(l\d+)_width"),
    Narrow(r"(l\d+)_width"),
    ChangeDropout(),
    ChangeSetting(r"layers|l\d+_width|dropout"),
)

ANY: tuple[Morphism, ...] = (ChangeValue(),)

__all__ = ["ANY", "CNN", "MLP", "OwnOperation"]
