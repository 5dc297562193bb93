"""The little language of generated programs, and how a program is played on a rig.

A program is a list of operations a thread. Streams, buffers, hand-offs (made by the class under test) and bare device
events go by numbers from 0 and belong to all threads; any thread may use any stream. `eval(repr(program))` is the
program again.

    Program((
        (Fill(buffer=0, value=1, stream=0), Record(hand_off=0, stream=0)),
        (Wait(hand_off=0, stream=1), Observe(buffer=0, stream=1)),
    ))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from cpugpu.rig import Rig

#: Elements of a buffer: enough that a kernel may be seen half done.
SIZE = 8
#: Of `Work`.
KERNELS = 6
#: What the cell of an observation holds before its kernel has run. No buffer ever holds it.
UNSEEN = 0


def initial(buffer: int) -> int:
    """What a buffer holds when the program starts: a value that no fill has."""
    return -1 - buffer


@dataclass(frozen=True)
class Fill:
    """A kernel that sets every element of `buffer`. No two fills of a program have the same value."""

    buffer: int
    value: int
    stream: int

    def __str__(self) -> str:
        return f"fill b{self.buffer} ← {self.value} on s{self.stream}"


@dataclass(frozen=True)
class Copy:
    """A kernel that copies a buffer into another one, element by element."""

    source: int
    target: int
    stream: int

    def __str__(self) -> str:
        return f"copy b{self.source} → b{self.target} on s{self.stream}"


@dataclass(frozen=True)
class Observe:
    """A kernel that copies a buffer into a cell of this operation's own. What the cell holds in the end is judged."""

    buffer: int
    stream: int

    def __str__(self) -> str:
        return f"observe b{self.buffer} on s{self.stream}"


@dataclass(frozen=True)
class Work:
    """A few kernels that nobody looks at: the stream is late."""

    stream: int

    def __str__(self) -> str:
        return f"work on s{self.stream}"


@dataclass(frozen=True)
class Record:
    """The producer's half of a hand-off: `record(stream)` of the class under test."""

    hand_off: int
    stream: int

    def __str__(self) -> str:
        return f"h{self.hand_off}.record(s{self.stream})"


@dataclass(frozen=True)
class Wait:
    """The consumer's half of a hand-off: `wait(stream)`, which blocks the thread until the record was made."""

    hand_off: int
    stream: int

    def __str__(self) -> str:
        return f"h{self.hand_off}.wait(s{self.stream})"


@dataclass(frozen=True)
class UntilConsumed:
    """The producer blocks until `pending` is False, and may record again: the wait need not have returned."""

    hand_off: int

    def __str__(self) -> str:
        return f"until not h{self.hand_off}.pending"


@dataclass(frozen=True)
class EventRecord:
    """`record` of a bare device event, which replaces what it had captured."""

    event: int
    stream: int

    def __str__(self) -> str:
        return f"e{self.event}.record(s{self.stream})"


@dataclass(frozen=True)
class EventWait:
    """`wait` of a bare device event: for the latest capture at the time of the call, and for nothing before one."""

    event: int
    stream: int

    def __str__(self) -> str:
        return f"e{self.event}.wait(s{self.stream})"


@dataclass(frozen=True)
class Synchronize:
    """The thread blocks until the device has done what the stream holds."""

    stream: int

    def __str__(self) -> str:
        return f"s{self.stream}.synchronize()"


@dataclass(frozen=True)
class Pause:
    """A place where the thread may be late."""

    def __str__(self) -> str:
        return "pause"


Operation: TypeAlias = (
    "Fill | Copy | Observe | Work | Record | Wait | UntilConsumed | EventRecord | EventWait | Synchronize | Pause"
)
#: An operation's thread and its position there.
Place: TypeAlias = "tuple[int, int]"
#: The elements that an observation has found.
Seen: TypeAlias = "Mapping[Place, tuple[int, ...]]"


@dataclass(frozen=True)
class Program:
    """Operations, thread by thread. `legal.py` has the rules that a program has to keep."""

    threads: tuple[tuple[Operation, ...], ...]

    def __getitem__(self, place: Place) -> Operation:
        thread, position = place
        return self.threads[thread][position]

    def __iter__(self) -> Iterator[Place]:
        return ((thread, position) for thread, body in enumerate(self.threads) for position in range(len(body)))

    def __len__(self) -> int:
        return sum(map(len, self.threads))

    def __repr__(self) -> str:
        bodies = ("".join(f"\n        {operation!r}," for operation in body) for body in self.threads)
        return "Program((" + "".join(f"\n    ({body}\n    )," for body in bodies) + "\n))"

    def count(self, field: str) -> int:
        """How many streams, buffers, hand-offs or events there are, by the name of the operations' field."""
        return 1 + max((getattr(self[place], field, -1) for place in self), default=-1)


class Stage:
    """A program's streams, events, buffers and cells on a rig. `do` executes an operation, in the calling thread."""

    def __init__(self, program: Program, rig: Rig, make_event: Callable[[], Any]) -> None:
        self.program = program
        self._rig = rig
        buffers = max(map(program.count, ("buffer", "source", "target")))
        self._buffers = [rig.buffer(initial(buffer), SIZE) for buffer in range(buffers)]
        self._cells = {place: rig.buffer(UNSEEN, SIZE) for place in program if isinstance(program[place], Observe)}
        self._streams = [rig.stream() for _ in range(program.count("stream"))]
        self._scratch = [rig.buffer(0) for _ in self._streams]  # nothing orders the work of two streams
        self._hand_offs = [make_event() for _ in range(program.count("hand_off"))]
        self._events = [rig.event() for _ in range(program.count("event"))]

    def do(self, place: Place) -> None:
        """Execute the operation at `place`."""
        rig, buffers, streams = self._rig, self._buffers, self._streams
        match self.program[place]:
            case Fill(buffer, value, stream):
                rig.fill(buffers[buffer], value, streams[stream])
            case Copy(source, target, stream):
                rig.copy(buffers[source], buffers[target], streams[stream])
            case Observe(buffer, stream):
                rig.copy(buffers[buffer], self._cells[place], streams[stream])
            case Work(stream):
                for value in range(KERNELS):
                    rig.fill(self._scratch[stream], value, streams[stream])
            case Record(hand_off, stream):
                self._hand_offs[hand_off].record(streams[stream])
            case Wait(hand_off, stream):
                self._hand_offs[hand_off].wait(streams[stream])
            case UntilConsumed(hand_off):
                rig.until(lambda: not self._hand_offs[hand_off].pending)
            case EventRecord(event, stream):
                self._events[event].record(streams[stream])
            case EventWait(event, stream):
                self._events[event].wait(streams[stream])
            case Synchronize(stream):
                streams[stream].synchronize()
            case Pause():
                rig.pause()

    def seen(self) -> Seen:
        """Wait for the device, and return what each observation has found."""
        return {place: self._rig.read(cell) for place, cell in self._cells.items()}


def play(program: Program, rig: Rig, make_event: Callable[[], Any]) -> Seen:
    """Execute a program with a thread for each of its threads, and return what its observations have found."""
    stage = Stage(program, rig, make_event)

    def thread(number: int) -> Callable[[], None]:
        def body() -> None:
            for position in range(len(program.threads[number])):
                stage.do((number, position))

        body.__name__ = f"thread_{number}"
        return body

    rig.run(*map(thread, range(len(program.threads))))
    return stage.seen()
