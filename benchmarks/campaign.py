"""What the hammer and the campaign cost: hand-offs a second beside a bare loop, shards side by side, a shard's price.

    $ python -m benchmarks.campaign [--no-ray]

*throughput*: two threads hand work to each other over two `CpuGpuEvent`s, as a bare loop and as a scenario under the
hammer with its sleeps off, with the same switch interval of the interpreter, in turn. *scaling*: executions a second of
a scenario with its sleeps on, in one shard and in two at once. *shards*: milliseconds a shard of one trivial execution,
for 10, 100 and 1,000 of them, on this machine's processes and on a local Ray cluster.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import machine
from cpugpu import CpuGpuEvent, hammer, scenario
from cpugpu.campaign import Executor, LocalProcesses, Once, Shard, Target, run
from cpugpu.device import Device, resolve, using
from cpugpu.device.simulated import SimulatedDevice, Simulator, no_latency
from cpugpu.rig import Rig

ROUNDS, REPETITIONS, SECONDS = 500, 15, 0.4
COUNTS = (10, 100, 1000)
#: As the hammer sets it.
_SWITCH_SECONDS = 2e-5


@scenario(accept=["done"])
def rounds(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """`ROUNDS` there and back."""
    rig.run(*_sides(make_event, rig.stream))
    return "done"


@scenario(accept=["done"])
def trivial(rig: Rig) -> str:  # noqa: ARG001
    """Nothing."""
    return "done"


def _sides(make_event: Callable[[], CpuGpuEvent], stream: Callable[[], Any]) -> list[Callable[[], None]]:
    there, back = make_event(), make_event()

    def ping() -> None:
        mine = stream()
        for _ in range(ROUNDS):
            there.record(mine)
            back.wait(mine)

    def pong() -> None:
        mine = stream()
        for _ in range(ROUNDS):
            there.wait(mine)
            back.record(mine)

    return [ping, pong]


def bare(device: Device) -> float:
    """Hand-offs a second of a bare loop, for `SECONDS`."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    began, times = time.perf_counter(), 0
    try:
        with using(device):
            while time.perf_counter() - began < SECONDS:
                threads = [threading.Thread(target=side) for side in _sides(CpuGpuEvent, device.stream)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                device.synchronize()
                times += 1
    finally:
        sys.setswitchinterval(interval)
    return times * 2 * ROUNDS / (time.perf_counter() - began)


def hammered(device: Device) -> float:
    """Hand-offs a second under the hammer, its sleeps off."""
    result = hammer(rounds, seconds=SECONDS, device=device, seed=0, jitter=False)
    return result.executions * 2 * ROUNDS / result.seconds


def throughput() -> dict[str, Any]:
    """Medians, and the median of the ratios of neighbours."""
    devices: dict[str, Device] = {"host": resolve("host"), "sim": SimulatedDevice(Simulator(latency=no_latency))}
    found: dict[str, Any] = {}
    for name, device in devices.items():
        pairs = [(bare(device), hammered(device)) for _ in range(REPETITIONS)]
        found[name] = {
            "bare_per_second": round(statistics.median(pair[0] for pair in pairs)),
            "hammer_per_second": round(statistics.median(pair[1] for pair in pairs)),
            "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 3),
        }
        print(f"throughput on {name}: {found[name]}", flush=True)
    return found


def scaling(repetitions: int = 5, seconds: float = 2.0) -> dict[str, Any]:
    """Executions a second of `hand_off` in one process and in two."""
    target = Target("hand_off", "stress/stress_hand_off.py", "stress.stress_hand_off", "hand_off")

    def executions(width: int) -> float:
        executor = LocalProcesses(width)
        try:
            found = run(Once([target] * width, seconds), executor, template=_template(), replays={"hand_off": ""})
        finally:
            executor.close()
        return sum(entry.result.executions for entry in found.entries if entry.result is not None) / seconds

    pairs = [(executions(1), executions(2)) for _ in range(repetitions)]
    found = {
        "one_shard_per_second": round(statistics.median(pair[0] for pair in pairs)),
        "two_shards_per_second": round(statistics.median(pair[1] for pair in pairs)),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 2),
    }
    print(f"scaling: {found}", flush=True)
    return found


def price(executor: Executor, name: str) -> dict[str, Any]:
    """Milliseconds a shard, by how many there are."""
    target = Target("trivial", __file__, "benchmarks.campaign", "trivial")
    milliseconds: dict[str, float] = {}
    try:
        _shards(executor, target, executor.width * 2)  # servers and workers start
        for count in COUNTS:
            began = time.perf_counter()
            _shards(executor, target, count)
            milliseconds[str(count)] = round((time.perf_counter() - began) * 1e3 / count, 2)
    finally:
        executor.close()
    ratio = milliseconds[str(COUNTS[-1])] / milliseconds[str(COUNTS[0])]
    found = {"milliseconds_a_shard": milliseconds, "ratio": round(ratio, 2)}
    print(f"shards, {name}: {found}", flush=True)
    return found


def _shards(executor: Executor, target: Target, count: int) -> None:
    found = run(Once([target] * count, 1e-3), executor, template=_template(), replays={"trivial": ""})
    passed = sum(entry.result is not None and entry.result.passed for entry in found.entries)
    if passed != count:
        raise RuntimeError(f"{count - passed} of {count} shards failed: {found.entries[0].fault}")


def _template() -> Shard:
    return Shard(0, Target("", "", "", ""), "sim", 0, 0.0, paths=(".", *sys.path))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all of it and keep the result."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--no-ray", action="store_true", help="leave the Ray cluster out")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {**machine.describe(), "throughput": throughput(), "scaling": scaling()}
    result["processes"] = price(LocalProcesses(2), "processes")
    if options.no_ray or importlib.util.find_spec("ray") is None:
        print("shards, Ray: left out; Ray is not installed, or --no-ray was given")
    else:
        from cpugpu.campaign.ray_tasks import RayTasks

        result["ray"] = price(RayTasks("local", width=2), "Ray")
    print(f"wrote {machine.save('campaign', result)}")


if __name__ == "__main__":
    main()
