"""Benchmarks behind `make bench`: ratios within one run, never timed tests."""
