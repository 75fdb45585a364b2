"""The endpoints, by subject. Each is thin: it reads the request, calls the store and answers."""
