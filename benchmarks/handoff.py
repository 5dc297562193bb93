"""What a hand-off costs: `CpuGpuEvent` against the protocol that it replaces and against a bare lock, the limit.

    $ make bench

Three measurements on each device: `uncontended`, one thread records and waits in turn; `ping_pong`, two threads hand a
ball back and forth through two events; and hand-offs a second, which is two a round trip. The subjects take turns
within every repetition, and the ratios are medians over the repetitions: a slow moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine
from cpugpu import CpuGpuEvent
from cpugpu.device import Device, find_accelerator, resolve, using
from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency
from stress.subjects import SeedEvent

REPETITIONS, UNCONTENDED, ROUNDS = 31, 10_000, 1_000


class BareLock:
    """No device, no checks: a lock that one thread releases and another one acquires."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def record(self, stream: Any = None) -> None:  # noqa: ARG002
        self._lock.release()

    def wait(self, stream: Any = None) -> None:  # noqa: ARG002
        self._lock.acquire()


SUBJECTS: dict[str, Callable[[], Any]] = {"CpuGpuEvent": CpuGpuEvent, "SeedEvent": SeedEvent, "BareLock": BareLock}


def uncontended(make_event: Callable[[], Any], device: Device, times: int) -> float:
    """Seconds for one record and one wait in the same thread."""
    event = make_event()
    record, wait = event.record, event.wait
    began = time.perf_counter()
    for _ in range(times):
        record()
        wait()
    elapsed = time.perf_counter() - began
    device.synchronize()
    return elapsed / times


def ping_pong(make_event: Callable[[], Any], device: Device, times: int) -> float:
    """Seconds for one round trip between two threads."""
    there, back, ready = make_event(), make_event(), make_event()

    def pong() -> None:
        ready.record()
        for _ in range(times):
            there.wait()
            back.record()

    thread = threading.Thread(target=pong)
    thread.start()
    ready.wait()
    began = time.perf_counter()
    for _ in range(times):
        there.record()
        back.wait()
    elapsed = time.perf_counter() - began
    thread.join()
    device.synchronize()
    return elapsed / times


def measure(device: Device, repetitions: int, scale: float) -> dict[str, Any]:
    """All measurements on one device."""
    result: dict[str, Any] = {}
    for measurement, times in ((uncontended, UNCONTENDED), (ping_pong, ROUNDS)):
        samples: dict[str, list[float]] = {name: [] for name in SUBJECTS}
        with using(device):
            for _ in range(repetitions):
                for name, make_event in SUBJECTS.items():
                    samples[name].append(measurement(make_event, device, max(1, int(times * scale))))
        own = samples["CpuGpuEvent"]
        result[measurement.__name__] = {
            name: {
                "median_us": round(statistics.median(values) * 1e6, 3),
                "ratio_of_CpuGpuEvent": round(statistics.median(a / b for a, b in zip(own, values, strict=True)), 3),
            }
            for name, values in samples.items()
        }
    result["hand_offs_a_second"] = {
        name: int(2e6 / figures["median_us"]) for name, figures in result["ping_pong"].items()
    }
    return result


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--name", default="handoff", help="of the file in benchmarks/results")
    options = parser.parse_args()
    devices: list[tuple[Device, float]] = [
        (resolve("host"), 1.0),
        (SimulatedDevice(Simulator(latency=no_latency)), 0.02),  # every operation passes through a worker thread
    ]
    accelerator = find_accelerator()
    if accelerator is not None:
        devices.append((accelerator, 0.2))
    result = machine.describe() | {"repetitions": options.repetitions, "devices": {}}
    for device, scale in devices:
        result["devices"][device.name] = measured = measure(device, options.repetitions, scale)
        print(f"{device.name}: {options.repetitions} interleaved repetitions, medians")
        print(f"    {'':12}  {'record+wait':>12}  {'ratio':>6}  {'round trip':>12}  {'ratio':>6}  {'hand-offs/s':>12}")
        for name in SUBJECTS:
            alone, pair = measured["uncontended"][name], measured["ping_pong"][name]
            print(
                f"    {name:12}  {alone['median_us']:>9.2f} µs  {alone['ratio_of_CpuGpuEvent']:>6.2f}"
                f"  {pair['median_us']:>9.2f} µs  {pair['ratio_of_CpuGpuEvent']:>6.2f}"
                f"  {measured['hand_offs_a_second'][name]:>12,}"
            )
    print("ratio: CpuGpuEvent's time by the subject's, so less than 1 means that CpuGpuEvent is faster")
    print(f"written to {machine.save(options.name, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
