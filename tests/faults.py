"""Scenarios that hurt the process that runs them, for the tests of the campaign. A whole file of twenty."""

from __future__ import annotations

HEALTHY = 15
#: What a shard does to itself, and the fault that it must be told as.
FAULTS = {"killed": "killed", "hangs": "hung", "eats_memory": "out of memory", "breaks_device": "device error"}

SCENARIOS = """
import os, resource, signal
from cpugpu import CpuGpuEvent, scenario

def hand_off(rig):
    ready, cell, seen = CpuGpuEvent(), rig.buffer(0), rig.buffer(0)
    def producer():
        stream = rig.stream()
        rig.fill(cell, 1, stream)
        ready.record(stream)
    def consumer():
        stream = rig.stream()
        ready.wait(stream)
        rig.copy(cell, seen, stream)
    rig.run(producer, consumer)
    return "fresh" if rig.read(seen) == 1 else "stale"

for number in range(HEALTHY):
    def healthy(rig):
        return hand_off(rig)
    healthy.__name__ = f"healthy_{number}"
    vars()[healthy.__name__] = scenario(accept={"fresh": ""}, forbid={"stale": ""})(healthy)
del healthy

@scenario(accept=["fresh"])
def killed(rig):
    outcome = hand_off(rig)
    os.kill(os.getpid(), signal.SIGKILL)
    return outcome

@scenario(accept=["fresh"])
def hangs(rig):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    while True:
        signal.pause()

@scenario(accept=["fresh"])
def eats_memory(rig):
    used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
    eaten = []
    while True:
        eaten.append(bytearray(2**24))

@scenario(accept=["fresh"])
def breaks_device(rig):
    def kernel(cell):
        raise ValueError("illegal address")
    cell = rig.buffer(0)
    rig.launch(rig.stream(), kernel, writes=[cell])
    return rig.read(cell)

@scenario(accept={"fresh": ""}, forbid={"stale": ""})
def full_disk(rig):
    return hand_off(rig)
""".replace("HEALTHY", str(HEALTHY))
