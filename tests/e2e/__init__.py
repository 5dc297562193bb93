"""End to end: what others make of our files. Plain `pytest tests` runs none of it."""
