"""Weight inheritance: the built-in families preserve the network's function where possible, other families copy what fits."""
