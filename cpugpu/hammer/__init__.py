"""The hammer: real threads, random sleeps, late kernels, for as long as you give it.

`hammer(scenario)` executes a scenario again and again and returns a `Result`: the outcomes with their counts and
grades, and the first execution of each forbidden one. `choose_device` says which device a runner gets.
"""

from cpugpu.hammer.latency import Latencies
from cpugpu.hammer.result import Failure, Result, Row, Step, combine
from cpugpu.hammer.runner import SIMULATED_DEVICES, choose_device, hammer

__all__ = ["SIMULATED_DEVICES", "Failure", "Latencies", "Result", "Row", "Step", "choose_device", "combine", "hammer"]
