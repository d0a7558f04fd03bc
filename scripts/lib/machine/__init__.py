"""What this machine has: its GPUs and their driver, its memory, and running out of it."""
