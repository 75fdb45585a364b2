"""Child processes: supervision of the embedded service, the runner of single tasks, memory of processes."""
