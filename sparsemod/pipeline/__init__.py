"""One trial from candidate to measurements, and what runs trials without a server."""
