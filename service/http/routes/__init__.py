"""The endpoints, by subject. Each is thin: it reads the request, asks the store, answers."""
