"""The process that keeps a queue of trials ahead of the workers."""
