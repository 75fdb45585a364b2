"""The pipeline of one trial, from candidate to measurements, and local runs without a server."""
