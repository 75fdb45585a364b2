"""Memory rules of the layers that make features of frames."""

from sparsemod.arena.memory import MEMORY, Memory, Node, apart
from sparsemod.layouts import Tensors
from sparsemod.signals import tables

MEMORY.rules("window_statistics")(apart)


@MEMORY.register("band_energies")
def with_spectrum(node: Node, tensors: Tensors) -> Memory:
    """Rule for spectra: the numbers of the FFT and the bands, in words."""
    return Memory(4 * (fft_size(node) + int(node.attributes["bands"])))


def fft_size(node: Node) -> int:
    """Return the samples of the FFT."""
    return tables.fft_size(int(node.attributes["window"]))
