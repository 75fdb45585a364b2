"""The keys of torchprune's parameter files, as its tutorial lists them: their counterparts here, or why they have none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TheirKey:
    """One key. `name`: with dots; those of `training` hold for `retraining` too. `ours`: keys of a study file; "" for none."""

    name: str
    ours: str
    meaning: str


TUTORIAL = (
    TheirKey("file", "include", "A file whose keys come first. `--convert` writes the keys of all files into one."),
    TheirKey("network.name", "network.name", "A network of the zoo, such as `resnet-20` for `resnet20`."),
    TheirKey("network.dataset", "network.dataset", "`cifar10` for `CIFAR10`, `mnist` for `MNIST`."),
    TheirKey("network.outputSize", "", "the dataset states its classes"),
    TheirKey(
        "training.transformsTrain", "training.augmentation",
        "`RandomHorizontalFlip` is `flip`; `Pad` with `RandomCrop`, or `RandomCrop` with padding, is `shift`.",
    ),
    TheirKey("training.transformsTest", "", "datasets are normalized here"),
    TheirKey("training.transformsFinal", "", "datasets are normalized here"),
    TheirKey("training.loss", "training.loss", "`CrossEntropyLoss` is `cross_entropy`, the default."),
    TheirKey("training.lossKwargs", "", "a loss is always the mean over a batch"),
    TheirKey("training.metricsTest", "", "training.metric defines the error"),
    TheirKey("training.batchSize", "training.batch_size", "Samples of a batch."),
    TheirKey("training.testBatchSize", "", "evaluation chooses its batches"),
    TheirKey("training.optimizer", "training.optimizer", "`sgd` for `SGD`, `adam` for `Adam`, `adamw` for `AdamW`."),
    TheirKey("training.optimizerKwargs.lr", "training.learning_rate", "Learning rate at the beginning."),
    TheirKey("training.optimizerKwargs.weight_decay", "training.weight_decay", "Weight decay."),
    TheirKey("training.optimizerKwargs.momentum", "training.optimizer.momentum", "Momentum of `sgd`."),
    TheirKey("training.optimizerKwargs.nesterov", "training.optimizer.nesterov", "Nesterov's momentum of `sgd`."),
    TheirKey("training.enableAMP", "training.precision", "`float16` if it is true."),
    TheirKey("training.numEpochs", "training.epochs", "Epochs in all, those before `startEpoch` included."),
    TheirKey(
        "training.startEpoch", "retraining.start_epoch",
        "Retraining begins at this epoch of the learning rate; with `cascade-rewind` the weights return to it too.",
    ),
    TheirKey("training.earlyStopEpoch", "", "the best epoch always counts"),
    TheirKey(
        "training.lrSchedulers", "training.schedule",
        "`MultiStepLR` is `step` with milestones as shares of the epochs, `CosineAnnealingLR` is `cosine`, `WarmupLR` is "
        "`warmup`.",
    ),
    TheirKey("experiments.methods", "experiments.methods", "The same names."),
    TheirKey("experiments.mode", "experiments.mode", "The same: `train`, `retrain`, `cascade`, `cascade-rewind`."),
    TheirKey("experiments.numRepetitions", "experiments.repetitions", "How often each method prunes the same network."),
    TheirKey("experiments.numNets", "experiments.nets", "Reference networks, each with a seed of its own."),
    TheirKey("experiments.plotting.minVal", "experiments.plotting.min", "Smallest share of the weights in plots."),
    TheirKey("experiments.plotting.maxVal", "experiments.plotting.max", "Largest share of the weights in plots."),
    TheirKey(
        "experiments.spacing.type", "experiments.spacing.type",
        "The same: `geometric`, `linear`, `harmonic`, `harmonic2`, `cubic`, `manual`.",
    ),
    TheirKey("experiments.spacing.numIntervals", "experiments.spacing.intervals", "Number of ratios."),
    TheirKey("experiments.spacing.maxVal", "experiments.spacing.max", "Largest share of the weights that stays."),
    TheirKey("experiments.spacing.minVal", "experiments.spacing.min", "Smallest share of the weights that stays."),
    TheirKey("experiments.spacing.values", "experiments.spacing.values", "The shares of `manual`."),
    TheirKey(
        "experiments.retrainIterations", "experiments.retrain_iterations",
        "Number of ratios that are retrained; -1: every ratio.",
    ),
    TheirKey("customizations", "customizations", "A list of `key` and `value`; `--convert` renames the keys."),
    TheirKey("blacklist", "", "a study continues only with the same parameters"),
    TheirKey("coresets", "", "the methods pfp and sipp have keys of their own"),
    TheirKey("directories", "", "results are in --out, data sets in $SPARSEMOD_DATA"),
    TheirKey("network_names", "", "plots show the names under `methods`"),
    TheirKey("network_colors", "", "plots choose their colours"),
)  # fmt: skip

WITHOUT = {key.name: key.meaning for key in TUTORIAL if not key.ours}
"""Keys without a counterpart, and why they have none."""


def why(section: str, key: str) -> str:
    """Return why a key of a section ("" for the top) has no counterpart."""
    place = {"": "", "retraining": "training."}.get(section, f"{section}.")
    return WITHOUT.get(f"{place}{key}", "no meaning here")
