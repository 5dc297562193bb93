"""A simulated GPU: CUDA's stream and event semantics on the CPU, so that ordering bugs show without a device.

`Simulator` is a machine with some devices; `SimulatedDevice` is one of them behind the seam that the rest of cpugpu
sees; `SimStream` and `SimEvent` have the methods of `torch.cuda.Stream` and `torch.cuda.Event`. The rules are in
`model.py`, which knows neither threads nor time; a driver runs them, here in real time.
"""

from cpugpu.device.simulated.device import SimulatedDevice
from cpugpu.device.simulated.latency import HeavyTail
from cpugpu.device.simulated.objects import SimBuffer, SimEvent, SimStream
from cpugpu.device.simulated.realtime import heavy_tail, no_latency
from cpugpu.device.simulated.simulator import Simulator

__all__ = [
    "HeavyTail",
    "SimBuffer",
    "SimEvent",
    "SimStream",
    "SimulatedDevice",
    "Simulator",
    "heavy_tail",
    "no_latency",
]
