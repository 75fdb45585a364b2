"""The worker process: it claims trials and evaluates them in child processes."""
