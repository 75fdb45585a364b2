"""Candidate sources: what an experiment tries next. Each registered source is a config and the `Source` that it creates."""
