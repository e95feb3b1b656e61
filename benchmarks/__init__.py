"""Measurements of the service and the model, a command each; results go to `benchmarks/results/` and nowhere else."""
