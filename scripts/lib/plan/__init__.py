"""From a configuration to what is missing, frozen for the jobs that make it."""
