"""Plays generated programs without threads and without time: who goes on is drawn, step by step.

One thread makes the calls of all of a program's threads, in an interleaving that the protocol allows; a call may be
interrupted, where the driver is entered and left, by calls of the other threads. In between the simulated device does
some steps, of any streams that have something to do. So an execution is a function of the program, the class under test
and the seed, and reaches at once what real threads need luck for. It cannot show a class that blocks too late or not at
all: a wait is never called before its record. That needs the hammer.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any

from cpugpu.device import using
from cpugpu.device.simulated import SimulatedDevice, Simulator
from cpugpu.device.simulated.model import Machine, Operation
from cpugpu.hammer.jitter import Jitter
from cpugpu.hammer.rig import HammerRig
from stress.generated.legal import Ledger
from stress.generated.program import Program, Record, Seen, Stage


class StepByStep:
    """A driver of the simulated device that does nothing by itself."""

    def __init__(self, machine: Machine, rng: random.Random) -> None:
        self._machine = machine
        self._rng = rng
        self._ready: list[Operation] = []
        self._parts_done: dict[Operation, int] = {}
        self._clock = itertools.count()
        self._speeds: dict[str, float] = {}  # by stream: some are slow for the whole execution

    def __enter__(self) -> Machine:
        return self._machine

    def __exit__(self, *exc_info: object) -> None:
        pass

    scheduled = False
    uninterrupted = 0

    def made(self, thing: object) -> None:
        pass

    def looked_at_captures(self, *, changed: bool) -> None:
        pass

    def turn(self, call: str, stream: object = None, event: object = None) -> StepByStep:
        return self

    def started(self, operation: Operation | None) -> None:
        if operation is not None and not operation.waits_for:
            self._ready.append(operation)

    def block(self, operations: Iterable[Operation | None], timeout: float | None = None) -> bool:
        for operation in operations:
            while operation is not None and not operation.done:
                self.step()
        return True

    def steps(self) -> None:
        """None, or some."""
        while self._ready and self._rng.random() < 0.6:
            self.step()

    def step(self) -> None:
        speeds = [self._speeds.setdefault(o.stream.name, self._rng.random() ** 4 + 1e-3) for o in self._ready]
        [operation] = self._rng.choices(self._ready, speeds)
        part = self._parts_done.get(operation, 0)
        if part < len(operation.parts):
            operation.parts[part]()
            self._parts_done[operation] = part + 1
        if part + 1 >= len(operation.parts):
            self._ready.remove(operation)
            self._ready += self._machine.finish(operation, next(self._clock))


class Interleaving(Jitter):
    """Makes the calls. As the rig's jitter it is asked wherever a thread may be late, and lets others overtake it."""

    def __init__(self, program: Program, rng: random.Random) -> None:
        super().__init__()
        self._program = program
        self._rng = rng
        self._ledger = Ledger()
        self._positions = [0] * len(program.threads)
        self._inside: set[int] = set()  # threads in the middle of a call
        self._device: StepByStep | None = None
        self._stage: Stage | None = None

    def driver(self, machine: Machine) -> StepByStep:
        self._device = StepByStep(machine, self._rng)
        return self._device

    def play(self, stage: Stage) -> Seen:
        self._stage = stage
        while able := self._able():
            self._call(self._rng.choice(able))
        return stage.seen()

    def pause(self) -> None:
        while self._inside and self._rng.random() < 0.4 and (able := self._able()):
            self._call(self._rng.choice(able))

    def _able(self) -> list[int]:
        return [
            thread
            for thread, position in enumerate(self._positions)
            if thread not in self._inside
            and position < len(self._program.threads[thread])
            and self._ledger.admits(thread, self._program[thread, position])
        ]

    def _call(self, thread: int) -> None:
        assert self._device is not None
        assert self._stage is not None
        place = thread, self._positions[thread]
        operation = self._program[place]
        self._positions[thread] += 1
        self._inside.add(thread)
        if isinstance(operation, Record):  # it is there when the call returns; a wait has consumed when it is called
            self._stage.do(place)
            self._ledger.take(thread, operation)
        else:
            self._ledger.take(thread, operation)
            self._stage.do(place)
        self._inside.remove(thread)
        self._device.steps()


def play_once(program: Program, make_event: Callable[[], Any], seed: int) -> Seen:
    """One execution. What the observations have found."""
    interleaving = Interleaving(program, random.Random(seed))
    device = SimulatedDevice(Simulator(driver=interleaving.driver))
    rig = HammerRig(device, interleaving, patience=1.0)
    with using(rig.device):
        return interleaving.play(Stage(program, rig, make_event))
