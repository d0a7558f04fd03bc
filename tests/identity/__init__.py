"""What must be made after which change: the promise that nothing is stale and nothing needless."""
