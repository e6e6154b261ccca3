"""Runs as Slurm job arrays: what is asked of the cluster, what was asked, and what became of it."""
