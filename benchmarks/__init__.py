"""Benchmarks: what the documentation claims about speed, measured again by `make bench`."""
