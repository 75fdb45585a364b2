"""Tasks that the server runs in child processes: exports, computed views, the Ax snapshot."""
