"""Augmentations of training batches as tensors, on any device; one file each."""

from sparsemod.training.augmentation.base import AUGMENTATIONS, Augmentation, augmented, build

__all__ = ["AUGMENTATIONS", "Augmentation", "augmented", "build"]
