"""Strategies decide the order of steps: one file each, behind the three questions of `base.Strategy`."""
