"""Tasks that the server runs in other processes: exports, computed views, the Ax snapshot."""
