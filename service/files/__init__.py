"""The files of trials on disk."""
