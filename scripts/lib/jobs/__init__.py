"""What happens around one job and one invocation: checks, output, killed workflows, Slurm."""
