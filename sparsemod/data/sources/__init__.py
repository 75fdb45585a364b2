"""The built-in datasets, one file each; each registers itself on import."""
