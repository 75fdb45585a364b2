"""The HTTP server: application, routes, authorization, events."""
