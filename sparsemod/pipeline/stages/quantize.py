"""Quantization of the trained network."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("quantize")
class Quantize(Stage):
    """Quantize by the spec's scheme, calibrated on training samples that the trial's seed chooses."""

    needs: ClassVar[frozenset[str]] = frozenset({"deployable"})
    gives: ClassVar[frozenset[str]] = frozenset({"integer"})
    ends: ClassVar[frozenset[str]] = frozenset({"measured"})

    name: Literal["quantize"] = Field("quantize", description="Make the integer network.")

    def run(self, work: "Work") -> None:
        """Quantize the network. Raises BuildError for weights that cannot be quantized."""
        import numpy as np
        import torch

        from sparsemod.delivery.described import described
        from sparsemod.pipeline.deployment import captured, encoded
        from sparsemod.quantization import IntegerNetwork, quantize

        spec = work.problem.spec.quantization
        x, _ = work.data.train.tensors()
        rows = np.random.default_rng(work.seed).permutation(len(x))[: spec.calibration_samples]
        try:
            chosen = torch.from_numpy(np.sort(rows))
            lengths = work.data.train.lengths
            steps = None if lengths is None else torch.from_numpy(lengths)[chosen]
            graph, dropped = captured(work.network(), work.problem)
            if dropped:
                names = ", ".join(repr(name) for name in dropped)
                work.notes.append(f"not deployed: {names}; it does not change which class is the largest")
            network = quantize(graph, x[chosen], spec, lengths=steps)
            if isinstance(network, IntegerNetwork):
                network = encoded(described(network, work.data), work.network(), work.problem)
        except InvalidInput as error:
            # The weights of this network are the cause, such as sums that exceed 32 bits; the spec is
            # valid.
            raise BuildError(f"the trained network cannot be quantized: {error}") from error
        work.integer = network
        work.keep("network", "network.npz", network.to_bytes)
