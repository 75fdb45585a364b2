"""The tasks: what the targets of samples are, and what a network's outputs mean. One file each."""
