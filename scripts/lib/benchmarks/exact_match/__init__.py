"""A user's own questions whose answer is generated and compared."""
