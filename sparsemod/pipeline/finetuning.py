"""Fine-tuning with fake quantization within a stage: training, comparison and the measurement of the gain."""

from typing import TYPE_CHECKING

from sparsemod.pipeline.measuring import network_quality
from sparsemod.pipeline.quantizing import quantized
from sparsemod.pipeline.training_step import train_network
from sparsemod.records import Measurement, TrialResult, TrialState
from sparsemod.training.fake_quantization import KeepZeros, fake_quantized

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work

METRIC = "finetune_gain"


def fine_tune(work: "Work", epochs: int, rate: float) -> TrialResult | None:
    """Fine-tune `work.module` in place for `epochs` epochs; keep the earlier weights where they are better.

    `rate`: the learning rate as a share of the training's. Adds the measurement `finetune_gain`: the error of the
    quantized network on validation data before minus after, never negative. Returns a result if the trial ends here.
    """
    module = work.network()
    before = network_quality(work, quantized(work)[0], work.data.validation)
    start = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    with fake_quantized(module):
        ended = train_network(
            work, epochs=epochs, pruner=lambda _: KeepZeros(work.problem.pruning(work.values)), rate=rate
        )
    module.to("cpu").eval()
    if ended is not None and ended.state is TrialState.STOPPED:
        return ended
    if ended is not None:
        module.load_state_dict(start)
        work.notes.append("fine-tuning diverged; the weights before it are kept")
        return None
    after = network_quality(work, quantized(work)[0], work.data.validation)
    kept = after.value < before.value
    if not kept:
        module.load_state_dict(start)
    gain = max(0.0, before.value - after.value)
    work.measurements.append(
        Measurement(
            metric=METRIC, value=gain, unit=before.unit, method=f"{before.metric} of the quantized network before fine-tuning minus after it",
            target="host", split=work.data.validation.name,
            detail={"before": before.value, "after": after.value, "epochs": epochs, "kept": kept},
        )
    )  # fmt: skip
    found = f"fine-tuned with fake quantization for {epochs} epochs: {before.metric} {before.value:.4g} -> {after.value:.4g}"
    work.notes.append(found if kept else f"{found}; the weights before it are kept")
    return None
