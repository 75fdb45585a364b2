"""Structured pruning: methods that remove whole filters, one file each."""
