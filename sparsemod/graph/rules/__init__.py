"""The graph's rules for each kind of operator: capture, float execution, multiply-adds."""
