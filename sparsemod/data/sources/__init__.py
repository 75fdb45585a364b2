"""The datasets that come with sparsemod, one file each; each registers itself when imported."""
