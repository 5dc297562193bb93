"""What stands in for `threading`, `queue`, `time` and `concurrent.futures` under exploration."""
