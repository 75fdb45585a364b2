"""Weight inheritance: built-in families preserve the network's function where possible; others copy what fits."""
