"""Programs for the development of sparsemod. They use only the standard library."""
