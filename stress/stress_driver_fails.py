"""A driver call raises, on one side or the other.

`record_fails`: the producer's thread ends with the driver's error; its consumer must not wait for ever. `wait_fails`:
the consumer's thread ends with the driver's error; the producer must be able to go on. Hand-offs that hang after an
error on the other side are what vllm#57883, NVIDIA/DALI#429 and vllm#46370 are about.

    $ cpugpu stress stress/stress_driver_fails.py --stress-subject=stress.subjects:SeedEvent
    record_fails[SeedEvent]: FAILED (1 executions in 5.1 s)
        outcome  times   share  grade      meaning
        hang         1  100.0%  forbidden  P2: the record raised, and the consumer waits for ever
"""

from __future__ import annotations

from cpugpu import CpuGpuEvent, ProducerFailed, scenario
from cpugpu.errors import DeviceError
from cpugpu.rig import HANG, Rig


@scenario(
    accept={"told": "the consumer's wait raised ProducerFailed"},
    forbid={HANG: "P2: the record raised, and the consumer waits for ever", "passed": "the wait returned, unordered"},
)
def record_fails(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The producer's only record raises."""
    ready, outcome = make_event(), rig.cell("passed")

    def producer() -> None:
        stream = rig.stream()
        rig.break_driver()
        try:
            ready.record(stream)
        except DeviceError:
            return  # and with it the thread

    def consumer() -> None:
        try:
            ready.wait(rig.stream())
        except ProducerFailed:
            outcome.set("told")

    rig.run(producer, consumer)
    return outcome.get()


@scenario(
    accept={"recorded": "the producer went on"},
    forbid={"refused": "P3: the wait raised, and every later record is refused"},
    breaks=("never-consumed",),
)
def wait_fails(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The consumer's wait raises; then the producer records again."""
    ready, outcome = make_event(), rig.cell("recorded")
    failed = rig.cell(False)

    def producer() -> None:
        stream = rig.stream()
        ready.record(stream)
        rig.until(failed.get, failed)
        try:
            ready.record(stream)
        except RuntimeError:
            outcome.set("refused")

    def consumer() -> None:
        stream = rig.stream()
        rig.break_driver()
        try:
            ready.wait(stream)
        except DeviceError:
            failed.set(True)

    rig.run(producer, consumer)
    return outcome.get()
