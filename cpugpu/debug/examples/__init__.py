"""For each rule a program that breaks it, and its clean twin: the same program, done right.

They are what the rules' pages show, what `cpugpu rules` runs for its table, and what the tests hold the rules against.
"""

from cpugpu.debug.examples import hand_off, life, streams, timing
from cpugpu.debug.examples.pairs import PAIRS, Pair, play
from cpugpu.debug.examples.stage import Actor, CapturingDevice, Stage

__all__ = ["PAIRS", "Actor", "CapturingDevice", "Pair", "Stage", "hand_off", "life", "play", "streams", "timing"]
