"""Low-rank methods: layers become two or more smaller ones, one method each file."""
