"""Published networks by name, such as `wrn-28-10`; only building them imports torch."""

from sparsemod.networks.zoo.catalogue import NETWORKS, ZooNetwork, network

__all__ = ["NETWORKS", "ZooNetwork", "network"]
