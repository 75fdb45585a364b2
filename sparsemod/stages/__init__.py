"""Stages of the pipeline: protocol, registry, and the check of their order. Imports no torch."""
