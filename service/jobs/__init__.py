"""Work that the server gives to other processes: exports, computed views, the Ax snapshot."""
