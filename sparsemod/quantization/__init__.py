"""Quantization: trained modules as integer networks, with a reference interpreter in integer arithmetic."""
