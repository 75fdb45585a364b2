"""Search spaces: parameters, and the validation of candidates."""
