"""What it takes to break the service: `python -m benchmarks.reliability`, and docs/reliability.md from its results."""
