"""Kinds of operators as data, and the registries of each stage's rules for them.

A kind is a `Kind` in `KINDS`: a name and traits. Code branches on traits, not on names. Each stage has a `Stage`, a registry with one
rule per kind. `Stage.rule` raises Unsupported, with stage, operator and layer, when the rule is missing. The stages are

| stage | registry | a rule |
| --- | --- | --- |
| capture | `sparsemod.graph.aten.TRANSLATIONS` | an ATen call -> operators |
| float meaning | `sparsemod.graph.execute.FLOAT` | operator, tensors -> tensor |
| multiply-adds | `sparsemod.graph.macs.MACS` | graph, operator -> count |
| filter pruning | `sparsemod.pruning.channels.CHANNELS` | operator, its inputs' labels -> its output's labels |
| quantization | `sparsemod.quantization.static.RULES` | operator -> layer |
| integer layer | `sparsemod.quantization.layers.LAYERS` | the layer's class |
| integer kernel | `sparsemod.quantization.interpreter.KERNELS` | layer, int8 arrays -> int8 array |
| memory | `sparsemod.arena.memory.MEMORY` | node -> scratch, in-place operation |
| cost features | `sparsemod.measure.work.FEATURES` | node -> kernel, counts of its loops |
| C | `sparsemod.export.c.layers.EMITTERS` | layer -> constants and calls |
| ONNX | `sparsemod.export.onnx.layers.RULES` | layer -> nodes |
| TensorFlow Lite | `sparsemod.export.tflite.layers.RULES` | layer -> operators |

This package holds plain data and imports neither torch nor numpy.
"""

from sparsemod.kinds.kind import KINDS, Kind, kind_of
from sparsemod.kinds.stage import Stage

__all__ = ["KINDS", "Kind", "Stage", "kind_of"]
