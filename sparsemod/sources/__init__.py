"""Candidate sources, which choose the next candidates of an experiment.

Each registered source is a config and the `Source` that it creates.
"""
