"""ONNX files: float models, and int8 models as pairs of QuantizeLinear and DequantizeLinear.

A DequantizeLinear of an activation is the int8 tensor that it reads. uint8 activations become int8 by subtracting 128 from values and
zero points, which is exact. The batch axis is the first one; shapes computed in the file count it as 1.

Source: ONNX operator specification.
"""

from sparsemod.errors import ToolsMissing
from sparsemod.importing.finish import finished
from sparsemod.importing.reader import READERS, Imported, Reader
from sparsemod.importing.readers import (  # noqa: F401  register the rules
    onnx_arithmetic,
    onnx_copies,
    onnx_norms,
    onnx_recurrent,
    onnx_rules,
    onnx_weighted,
)
from sparsemod.importing.readers.onnx_file import OnnxFile
from sparsemod.importing.readers.onnx_moved import on_moved
from sparsemod.importing.source import Source
from sparsemod.layouts import Shape


@READERS.register("onnx")
class Onnx(Reader):
    """ONNX, float or int8 as QuantizeLinear and DequantizeLinear pairs."""

    suffixes = (".onnx",)

    def read(self, source: Source, shape: Shape | None = None) -> Imported:
        """See Reader."""
        try:
            import onnx
        except ImportError:
            raise ToolsMissing(
                "reading .onnx needs the package onnx: pip install 'sparsemod[onnx]'"
            ) from None
        try:
            model = onnx.ModelProto.FromString(source.content)
        except Exception as error:  # noqa: BLE001  of protobuf
            raise source.broken(f"{len(source.content):,} bytes that are no ONNX model ({error})") from None
        if not model.graph.node:
            raise source.broken("no operators")
        return finished(OnnxFile(model, source, shape, on_moved).steps(), source, "ONNX")
