"""A model in Python code: `module:attribute`, a torch module or a function without arguments that returns one.

It imports the user's code, as `--import` does; the service never reads models in this form.
"""

from typing import Any

from sparsemod.errors import InvalidInput
from sparsemod.importing.reader import READERS, Imported, Reader
from sparsemod.importing.source import Source
from sparsemod.layouts import Shape
from sparsemod.registry import Registry, summarize_error

_MODULES: Registry[Any] = Registry("model", "sparsemod.models")


@READERS.register("attribute")
class Attribute(Reader):
    """A torch module in Python code, by module:attribute."""

    imports = True

    def read(self, source: Source, shape: Shape | None = None) -> Imported:
        """See Reader; `source.name` is module:attribute. The weights are those that the module has."""
        from torch import nn

        found = _MODULES.get(source.name, imports=True, field="model")
        if not isinstance(found, nn.Module) and callable(found):
            try:
                found = found()
            except Exception as error:  # of the user's code
                raise InvalidInput(
                    "model", source.name, f"a function without arguments; it raised {summarize_error(error)}"
                ) from error
        if not isinstance(found, nn.Module):
            raise InvalidInput("model", source.name, "a torch.nn.Module, or a function that returns one")
        if shape is None:
            raise InvalidInput(
                "input shape",
                None,
                "the shape of one sample, such as 1,28,28, or data that have it",
                source.name,
            )
        return Imported(source.name.partition(":")[2], "torch module", shape, module=found.eval())
