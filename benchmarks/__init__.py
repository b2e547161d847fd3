"""Benchmarks, each of which runs alone and prints its figures side by side with those of something else."""
