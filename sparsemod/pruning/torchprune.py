"""The class names of torchprune's methods, as other names for methods with settings.

torchprune's keep ratio is the share of all weights that stay: methods that remove filters count weights here.
"""

from sparsemod.pruning.base import METHODS

_FILTERS = {"of": "weights"}

METHODS.alias("ReferenceNet", "none", "Reference")
METHODS.alias("FakeNet", "none", "Fake")

METHODS.alias("ThresNet", "magnitude", "WT", scope="global")
METHODS.alias("SnipNet", "snip", "SNIP", scope="global")
METHODS.alias("SiPPNet", "sipp", "SiPPDet", form="deterministic")
METHODS.alias("SiPPNetRand", "sipp", "SiPPRand", form="random")
METHODS.alias("SiPPNetHybrid", "sipp", "SiPPHybrid", form="hybrid")
METHODS.alias("EllOneNet", "norm_sampling", "l1", norm="l1")
METHODS.alias("EllTwoNet", "norm_sampling", "l2", norm="l2")
METHODS.alias("EllOneAndTwoNet", "norm_sampling", "(l1 + l2) / 2", norm="both")
METHODS.alias("UniNet", "random_weights", "Uniform")

METHODS.alias("PFPNet", "pfp", "PFP", form="deterministic", **_FILTERS)
METHODS.alias("PFPNetRand", "pfp", "PFP (rand)", form="random", **_FILTERS)
METHODS.alias("PFPNetTop", "pfp", "PFP (partial)", form="top", **_FILTERS)
METHODS.alias("FilterThresNet", "filters", "FT", **_FILTERS)
METHODS.alias("SoftNet", "soft_filters", "SoftNet", **_FILTERS)
METHODS.alias("ThiNet", "thinet", "ThiNet", **_FILTERS)
METHODS.alias("FilterUniNet", "random_filters", "Uniform Filters", **_FILTERS)

METHODS.alias("ALDSNet", "alds", "ALDS")
METHODS.alias("ALDSNetPlus", "alds", "ALDS+", schemes=[0, 1, 2, 3])
METHODS.alias("ALDSNetOne", "alds", "ALDS (One-shot)", schedule="one-shot")
METHODS.alias("ALDSNetOptK", "alds", "ALDS-K", allocation="share")
METHODS.alias("ALDSNetErrorOnly", "alds", "ALDS-Error3", splits=[3])
METHODS.alias("ALDSNetSimple", "alds", "ALDS-Simple3", allocation="rank", splits=[3])
METHODS.alias("ALDSNetSimple5", "alds", "ALDS-Simple5", allocation="rank", splits=[5])
METHODS.alias("SVDNet", "svd", "SVD")
METHODS.alias("SVDNuclearNet", "svd_energy", "SVD-NucEnergy", norm="nuclear")
METHODS.alias("SVDFrobeniusNet", "svd_energy", "SVD-Energy", norm="frobenius")
METHODS.alias("SVDErrorNet", "svd_error", "SVD-Error")
METHODS.alias("PCANet", "pca", "PCA")
METHODS.alias("LearnedRankNet", "learned_rank", "L-Rank-Scheme1", scheme=1)
METHODS.alias("LearnedRankNetScheme0", "learned_rank", "L-Rank", scheme=0)
METHODS.alias("MessiNet", "messi", "Messi3", clusters=3)
METHODS.alias("MessiNet5", "messi", "Messi5", clusters=5)
