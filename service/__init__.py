"""The service around sparsemod: HTTP API, SQL store, suggester, workers, client and command line."""
