"""A fleet: workers on the nodes of a cluster. Their number follows the queue."""
