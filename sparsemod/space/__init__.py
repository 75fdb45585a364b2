"""Search spaces: parameters, and what a valid candidate is."""
