"""Tries to break the service: `python -m benchmarks.reliability`; writes docs/guide/reliability.md from the results."""
