"""The graph's rules for each kind of operator: how it is captured, what it means in float, its multiply-adds."""
