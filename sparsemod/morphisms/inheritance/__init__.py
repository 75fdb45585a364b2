"""How a child takes over its parent's weights: the built-in families keep the function where they can, others copy what fits."""
