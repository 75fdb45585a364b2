"""Stages of the pipeline: their protocol, their registry, and the check that an order of them can work. Cold: specs are read with it."""
