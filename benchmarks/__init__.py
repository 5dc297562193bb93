"""Benchmarks: always side by side with a peer, in interleaved runs, and reported as ratios. Run by `make bench`."""
