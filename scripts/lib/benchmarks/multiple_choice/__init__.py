"""A user's own multiple-choice questions."""
