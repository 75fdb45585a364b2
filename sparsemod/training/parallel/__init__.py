"""One training in several processes, each with a part of every batch."""
