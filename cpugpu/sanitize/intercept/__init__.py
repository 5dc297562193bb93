"""What a program does, seen at torch's and Python's own names, and put into the model."""
