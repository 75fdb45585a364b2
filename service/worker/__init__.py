"""The process that claims trials and evaluates them in children of its own."""
