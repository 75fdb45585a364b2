"""CIFAR-100: 50,000 + 10,000 colour images of 32 x 32, a hundred classes (Krizhevsky), from the binary version."""

from pathlib import Path

from sparsemod.data.arrays import Arrays
from sparsemod.data.cifar_records import CifarFiles
from sparsemod.data.download import RemoteFile
from sparsemod.data.source import dataset

_WORDS = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
NAMES = tuple(_WORDS.split())
FILES = CifarFiles(
    "cifar100",
    train=("train.bin",),
    test="test.bin",
    inside="cifar-100-binary",
    archive=RemoteFile(
        "cifar-100-binary.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
        "md5:03b5dce01913d631647c71ecec9e9cb8",
    ),
    labels=2,
    classes=NAMES,
)


@dataset("cifar100", shape=(3, 32, 32), classes=100)
def cifar100(root: Path | None) -> Arrays:
    """60,000 colour images of 32 x 32 pixels in a hundred classes, 10,000 of them the official test set.

    The training data are (50000, 3, 32, 32) uint8. The classes are the fine ones; the coarse labels are not read.

    Looks for train.bin and test.bin in `root/cifar100`, in `cifar-100-binary` below `root/cifar100` and below `root`, and in
    `root`; downloads the archive if a file is missing. Only the structure of local files is checked.
    Raises DataMissing, DigestMismatch (downloads only), InvalidInput for files without such records.
    """
    return FILES.read(root)
