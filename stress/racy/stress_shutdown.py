"""A worker with a stop flag that looks at it once a round, and is in `wait()` for the rest of the time.

The flag is set and nobody sees it: the worker waits for a record that no one will make, and joining it takes for ever
(vllm#56854). The class is the one that `CpuGpuEvent` replaces; it has no `close()`. The first standstill ends the run,
after the five seconds without a move that the hammer takes for one.

    $ cpugpu stress stress/racy/stress_shutdown.py --stress-seconds=2
    stop_flag: racy, as it should be (1 executions in 5.1 s)
        outcome  times   share  grade      meaning
        hang         1  100.0%  forbidden  the worker waits for a record, and the main thread for the worker
"""

from __future__ import annotations

from cpugpu import scenario
from cpugpu.rig import HANG, Rig
from stress.subjects import SeedEvent


@scenario(
    accept={"stopped": "the worker saw the flag"},
    forbid={HANG: "the worker waits for a record, and the main thread for the worker"},
    racy=True,
)
def stop_flag(rig: Rig) -> str:
    """One round, and the end."""
    rearrange, stopping, rounds = SeedEvent(), rig.cell(False), rig.cell(0)

    def worker() -> None:
        stream = rig.stream()
        while not stopping.get():
            rearrange.wait(stream)
            rounds.update(lambda times: times + 1)

    def main() -> None:
        rearrange.record(rig.stream())
        rig.until(lambda: rounds.get() == 1, rounds)
        stopping.set(True)

    try:
        rig.run(main, worker)
    finally:
        rearrange.record(rig.stream())  # so that a standstill ends with its execution
    return "stopped"
