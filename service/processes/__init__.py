"""Supervision of the processes of the embedded service."""
