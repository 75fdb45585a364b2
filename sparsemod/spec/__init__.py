"""Specifications of experiments: the model, its parts, and the files that hold one."""
