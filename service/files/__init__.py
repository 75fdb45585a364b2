"""Files of trials on disk."""
