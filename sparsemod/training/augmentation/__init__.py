"""Augmentations of training batches, on tensors, wherever the data lie; one file each."""

from sparsemod.training.augmentation.base import AUGMENTATIONS, Augmentation, build

__all__ = ["AUGMENTATIONS", "Augmentation", "build"]
