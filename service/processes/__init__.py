"""Processes: supervision of the embedded service."""
