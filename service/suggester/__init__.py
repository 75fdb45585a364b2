"""The suggester process: it keeps the queue of trials filled."""
