"""Which simulation is on. One at a time, for the whole process: torch is one thing for all threads."""

from __future__ import annotations

import os

from cpugpu.errors import SimulationError
from cpugpu.simulate.runtime import Runtime

_runtime: Runtime | None = None


def current() -> Runtime | None:
    """The simulation that is on, if one is."""
    return _runtime


def runtime() -> Runtime:
    """The simulation that is on. `SimulationError` if none is, and what CUDA raises in a forked child."""
    if _runtime is None:
        raise SimulationError("no simulation is on: this needs `with cpugpu.simulate():` around it")
    _runtime.check()
    return _runtime


def put(runtime: Runtime | None) -> None:
    """From now on it is this one."""
    global _runtime
    _runtime = runtime


def _in_child() -> None:
    if _runtime is not None:
        _runtime.in_child()


os.register_at_fork(after_in_child=_in_child)
