"""Scenarios that nobody wrote: random programs over threads, streams, events and buffers, judged by happens-before.

    program.py      the language, and how a program is played on a rig
    legal.py        which programs keep the protocol
    generator.py    draws programs, from a seeded random.Random or from Hypothesis
    oracle.py       happens-before, and the values that each observation may see
    listing.py      a program for people
    verdict.py      what is wrong with an execution
    strategies.py   Hypothesis strategies: any program, and the parts of a given one
    search.py       the smallest program that fails, under the hammer

`stress/stress_generated.py` is the scenario that plays them in a campaign; `python -m stress.generated` lets Hypothesis
itself look for a program that fails, and shrinks it.
"""
