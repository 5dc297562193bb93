"""Demonstrations: each shows a bug, and fails when it does not. What they show is why `CpuGpuEvent` exists."""
