"""Real-world snippets of PyTorch with streams and threads, each with its defect and without."""
