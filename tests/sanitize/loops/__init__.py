"""Training loops that nobody here wrote: those of libraries, each as its own manual shows it.

Each module prints the losses, one a line, in full precision: `python accelerate_loop.py` on the CPU, and under `cpugpu
run --device sim` on the simulated device, where the program itself does nothing else than before.
"""
