"""The published counts of networks with substitutes, and their reproduction.

Source: Gray, Crowley, Storkey, "Separable layers enable structured efficient linear substitutions", 2019, and its
research log, whose figures have six digits; parameters of CIFAR networks: Liebenwein et al., 2021.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from sparsemod.networks.zoo import network
from sparsemod.networks.zoo.catalogue import DATASETS
from sparsemod.networks.zoo.darts import Darts
from sparsemod.substitutes.counting import CORRECT, LEGACY, LEGACY_2018, Counts, Rules, count
from sparsemod.substitutes.legacy import dated
from sparsemod.substitutes.substitution import substitute

if TYPE_CHECKING:
    from torch import nn

SHORTCUTS_KEPT = (*Darts.substitutes_skip, *Darts.shortcuts)
"""Layers of DARTS that keep their convolutions when skip connections are not substituted, as before December 2018."""

RULES: dict[str, Rules] = {"correct": CORRECT, "legacy": LEGACY, "legacy-2018": LEGACY_2018}
"""Counters by name."""


@dataclass(frozen=True)
class Published:
    """A published count; None: not published. `digits`: how many digits the source gives (0: all)."""

    network: str
    substitute: str
    parameters: int | None
    multiply_adds: int | None
    dataset: str = "cifar10"
    counter: str = "correct"
    skip: tuple[str, ...] | None = None
    digits: int = 0

    def same(self, found: Counts) -> bool:
        """Return whether the counts equal the published ones to the given digits, and the sanity check holds."""
        pairs = ((self.parameters, found.parameters), (self.multiply_adds, found.multiply_adds))
        equal = all(wanted is None or self._rounded(wanted) == self._rounded(got) for wanted, got in pairs)
        return equal and found.parameters == found.reached

    def _rounded(self, value: int) -> str:
        return f"{value:.{self.digits - 1}e}" if self.digits else str(value)


_WRN = "wrn-28-10"
_SEP = 629_696_778
PUBLISHED: tuple[Published, ...] = (
    Published(_WRN, "Conv", 36_479_194, 5_245_638_922),
    Published(_WRN, "Sep", 4_380_138, _SEP),
    Published(_WRN, "HashedDecimate", 3_911_898, 5_245_638_922),
    Published(_WRN, "HashedDecimate@2018-11-21", 1_498_842, 5_245_638_922),
    Published(_WRN, "Hashed_0.01", 654_272, 5_245_638_922),
    Published(_WRN, "SepHashedDecimate", 3_911_898, _SEP),
    Published(_WRN, "SepHashedDecimate@2018-12-14", 710_327, _SEP),
    Published(_WRN, "SepHashed_0.2", 1_171_690, _SEP),
    Published(_WRN, "Generic_0.03", 601_162, 83_745_034),
    Published(_WRN, "Generic_0.1", 1_190_634, 171_206_922),
    Published(_WRN, "Shuffle_3", 1_343_834, 197_646_602),
    Published(_WRN, "Shuffle_4", 823_674, 117_201_162),
    Published(_WRN, "Shuffle_8", 563_594, 76_978_442),
    Published(_WRN, "Shuffle_16", 437_354, 60_758_282),
    Published(_WRN, "Shuffle_32", 378_314, 51_296_500, digits=6),
    Published(_WRN, "ACDC_12", 555_498, 799_261_613, counter="legacy-2018"),
    Published(_WRN, "ACDC_12", 555_498, 1_338_791_912, counter="legacy"),
    Published(_WRN, "ACDC_15", 609_258, None),
    Published(_WRN, "ACDC_64", 1_487_338, None),
    Published(_WRN, "TensorTrain_0.1@2018-12-18", 1_190_634, None),
    Published(_WRN, "CP_0.1@2018-12-18", 1_190_634, None),
    Published(_WRN, "Tucker_0.1@2018-12-18", 1_276_650, None),
    Published(_WRN, "TensorTrain_0.26", 664_226, _SEP),
    Published(_WRN, "TensorTrain_0.23", 598_200, _SEP),
    Published(_WRN, "TensorTrain_0.44", 1_181_863, _SEP),
    Published(_WRN, "TensorTrain_0.8_d4", 671_050, None),
    Published(_WRN, "Tucker_0.25", 681_248, _SEP),
    Published(_WRN, "Tucker_0.21", 592_947, _SEP),
    Published(_WRN, "Tucker_0.4_d4", 685_723, _SEP),
    Published("darts", "Sep", 3_349_342, 537_399_946),
    Published("darts", "Sep", 3_349_342, 538_200_874, counter="legacy"),
    Published("darts", "Sep@2018-12-11", 3_362_190, 541_629_000, counter="legacy", digits=6),
    Published("darts", "SepHashedDecimate", 3_036_568, 538_200_874, counter="legacy", skip=SHORTCUTS_KEPT),
    Published("darts", "SepHashedDecimate@2018-12-11", 428_400, 541_629_226, counter="legacy"),
    Published("mobilenetv2", "none", 3_504_872, 300_774_272, "imagenet"),
    Published("wrn-50-2", "none", 68_883_240, 11_412_824_040, "imagenet"),
    Published("resnet-20", "none", 272_474, None),
    Published("resnet-56-bottleneck", "none", 869_530, None),
    Published("vgg-16", "none", 14_719_818, None),
    Published("vgg-16-bn", "none", 14_728_266, None),
    Published("wrn-16-8", "none", 10_961_370, None),
)  # fmt: skip
"""Every published count."""


def counted(
    name: str, chosen: str, dataset: str, skip: tuple[str, ...] | None = None, rules: Rules = CORRECT
) -> tuple[Counts, int]:
    """Return the counts of a network of the zoo with a substitute (or "none"), and the number of replaced layers.

    Raises UnknownName, InvalidInput, BuildError.
    """
    module = copy.deepcopy(bare(name, dataset))
    replaced = [] if chosen == "none" else substitute(module, dated(chosen), skip)
    return count(module, DATASETS[dataset][0], rules), len(replaced)


def reproduced() -> Iterator[tuple[Published, Counts]]:
    """Yield every published count with ours."""
    for one in PUBLISHED:
        yield one, counted(one.network, one.substitute, one.dataset, one.skip, RULES[one.counter])[0]


@cache
def bare(name: str, dataset: str) -> "nn.Module":
    """Return a network of the zoo on the meta device, for a dataset's images. Do not change it. Raises UnknownName."""
    import torch

    shape, classes = DATASETS[dataset]
    with torch.device("meta"):
        return network(name).build(shape, classes)
