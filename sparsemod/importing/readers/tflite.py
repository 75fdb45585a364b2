"""TensorFlow Lite files: float models, and int8 models with weights per channel or per tensor.

Images in the file are channels last; the model here is channels first. Other tensors keep the order of their axes. A quantization of
the input and the opposite at the output are left out: the integer network's own input and output are int8.

Source: TensorFlow Lite's schema (version 3) and its 8-bit quantization specification.
"""

from typing import Any

from sparsemod.errors import ToolsMissing
from sparsemod.importing.finish import finished
from sparsemod.importing.reader import READERS, Imported, Reader
from sparsemod.importing.readers import tflite_copies, tflite_recurrent, tflite_rules  # noqa: F401  register the rules
from sparsemod.importing.readers.tflite_file import TfliteFile
from sparsemod.importing.source import Source
from sparsemod.layouts import Shape


@READERS.register("tflite")
class TfLite(Reader):
    """TensorFlow Lite, float or int8."""

    suffixes = (".tflite",)

    def read(self, source: Source, shape: Shape | None = None) -> Imported:
        """See Reader."""
        try:
            from ai_edge_litert import schema_py_generated as schema
        except ImportError:
            raise ToolsMissing("reading .tflite needs LiteRT: pip install 'sparsemod[tflite]'") from None
        if source.content[4:8] != b"TFL3":
            raise source.broken(f"{len(source.content):,} bytes that are no TensorFlow Lite model")
        try:
            model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.content, 0))
        except Exception as error:  # noqa: BLE001  of flatbuffers: offsets outside of the file
            raise source.broken(f"a damaged file ({type(error).__name__}: {error})") from None
        steps = TfliteFile(model, schema, source).steps()
        images = len(steps.shapes[steps.input]) == 3
        return finished(steps, source, "TensorFlow Lite", channels_last=images)
