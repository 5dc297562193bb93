"""The vocabulary of a scenario: what it is written in, and how its outcomes are graded.

A scenario is an ordinary function of a `Rig`. It makes threads, streams, events and buffers, and returns an outcome,
any hashable value. An engine calls it again and again and counts what comes out:

    @scenario(accept={"fresh": "the copy saw the fill"}, forbid={"stale": "the copy came first"})
    def hand_off(rig, make_event=CpuGpuEvent):
        ready, cell, seen = make_event(), rig.buffer(0), rig.buffer(0)

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

A parameter `make_event` is the subject: the runner puts the class under test there. An outcome may have a method
`explain() -> str`: it is called for the first one of its kind that is forbidden, and gives the details of the failure.
"""

from __future__ import annotations

import enum
import inspect
import os
import random
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias, TypeVar, overload

T = TypeVar("T")

#: The outcome of an execution that came to a standstill. It may be listed and explained like any other.
HANG = "hang"


def raised(exception: BaseException) -> str:
    """The outcome of an execution in which a thread raised: `"raises ValueError"`. It may be listed like any other."""
    return f"raises {type(exception).__name__}"


class Grade(str, enum.Enum):
    """What an outcome means for the verdict, as in jcstress."""

    ACCEPTED = "accepted"
    INTERESTING = "interesting"  # allowed, and worth a look
    FORBIDDEN = "forbidden"


class Cell(Protocol[T]):
    """Host memory that threads share. Each call is atomic."""

    def get(self) -> T:
        """The value."""

    def set(self, value: T) -> None:
        """Replace the value."""

    def update(self, function: Callable[[T], T]) -> T:
        """Replace the value by `function(value)` and return the new one."""


class Rig(Protocol):
    """What a scenario may use. Streams, events and buffers live on the engine's device.

    Plain `threading` objects and queues work as well. Buffers hold integers; only streams touch them.
    """

    def run(self, *functions: Callable[[], object]) -> None:
        """Start a thread for each function, all together, and join them. A thread that raises fails the scenario."""

    def stream(self, priority: int = 0, device: int = 0) -> Any:
        """A stream of its own, other than the default one. `device`: of which of the engine's devices."""

    def on(self, stream: Any) -> AbstractContextManager[None]:
        """Make `stream` the calling thread's current stream for the length of a `with` block."""

    def event(self) -> Any:
        """A bare device event, with `record`, `wait`, `query` and `synchronize`."""

    def busy(self, stream: Any) -> bool:
        """Does `stream` hold work that is not done?"""

    def buffer(self, value: int, size: int = 1, device: int = 0) -> Any:
        """Device memory: `size` integers that hold `value`."""

    def fill(self, target: Any, value: int, stream: Any) -> None:
        """A kernel that sets every element of `target`."""

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        """A kernel that copies `source` to `target`, element by element."""

    def add(self, target: Any, value: int, stream: Any) -> None:
        """A kernel that adds `value` to every element of `target`."""

    def check(self, source: Any, value: int, wrong: Any, stream: Any) -> None:
        """A kernel that adds to `wrong` the number of elements of `source` that are not `value`: stale or torn ones."""

    def launch(
        self, stream: Any, kernel: Callable[..., None], reads: Sequence[Any] = (), writes: Sequence[Any] = ()
    ) -> None:
        """A kernel of your own: `kernel(*reads, *writes)` with the contents of the buffers, indexable and mutable."""

    def read(self, source: Any) -> Any:
        """Wait for the device and return the contents: an int for a buffer of size 1, else a tuple."""

    def cell(self, value: T) -> Cell[T]:
        """Host memory that threads share."""

    def until(self, predicate: Callable[[], bool], *cells: Cell[Any]) -> None:
        """Block until `predicate()` holds. It may look at `cells` and at the device, and must change nothing."""

    def pause(self) -> None:
        """A place where a thread may be late."""

    def random(self) -> random.Random:
        """The execution's own source of random choices: the same ones when the execution is repeated by its seed."""

    def break_driver(self) -> None:
        """Let the calling thread's next record or wait on a device event raise `DeviceError`, as a driver may."""


def _accelerated(device: Any) -> bool:
    return device.name.partition(":")[0] not in ("sim", "host")


#: What a scenario may say that it runs on `only`: does a device, or this interpreter, have it, and the reason if not.
PLACES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "accelerator": (_accelerated, "needs a real accelerator, with torch's own memory and streams"),
    "cuda": (lambda device: device.name.partition(":")[0] == "cuda", "needs CUDA or ROCm: it captures a CUDA graph"),
    "simulator": (
        lambda device: device.name.partition(":")[0] == "sim",
        "needs the simulated device: a kernel that waits for the host would never end on a real one",
    ),
    "real time": (
        lambda device: not getattr(device, "scheduled", False),
        "needs real time: it has a device of its own, counts on chance, or on a timeout that does not expire",
    ),
    "no scheduler": (
        lambda device: not getattr(device, "scheduled", False),
        "needs what no scheduler of threads holds: the sockets of an event loop, a signal, another process",
    ),
    "spawn": (
        lambda device: not getattr(device, "simulated", False),
        "needs a device that a new process has too: torch.cuda is simulated in this one only",
    ),
    "two devices": (lambda device: len(device.each()) > 1, "needs two devices of one kind, to choose from"),
    "no GIL": (
        lambda _: not getattr(sys, "_is_gil_enabled", lambda: True)(),
        "needs an interpreter without a GIL (CPython 3.13t or later)",
    ),
    "fork": (
        lambda device: hasattr(os, "fork") and not _accelerated(device),
        "needs os.fork(), and a device that a forked child can use: CUDA cannot be initialised again in one",
    ),
}


@dataclass(frozen=True)
class Scenario:
    """A function of a rig together with the grades of its outcomes. Made by `scenario`."""

    function: Callable[..., Hashable]
    name: str
    accept: Mapping[Hashable, str]
    interesting: Mapping[Hashable, str]
    forbid: Mapping[Hashable, str]
    module: str
    #: Methods beside `record` and `wait` that the class under test must have.
    needs: tuple[str, ...] = ()
    #: A racy scenario is a demonstration: it fails if a forbidden outcome does *not* show.
    racy: bool = False
    #: Rules of the debug mode, and of the sanitizer, that the scenario breaks on purpose.
    breaks: tuple[str, ...] = ()
    #: What it cannot do without: names of `PLACES`.
    only: tuple[str, ...] = ()
    #: The class that is put in the place of the parameter `make_event`; None for its default.
    subject: Callable[[], Any] | None = None
    #: The text of the one schedule that the explorer is to try, see `reproduce_schedule`.
    schedule: str = ""

    @property
    def takes_subject(self) -> bool:
        """Can a runner choose the class under test?"""
        return self.subject is None and "make_event" in inspect.signature(self.function).parameters

    @property
    def subject_name(self) -> str:
        """The name of the class under test, empty where there is none."""
        default = inspect.signature(self.function).parameters.get("make_event")
        if default is None:
            return ""
        return getattr(self.subject or default.default, "__name__", "subject")

    def missing(self) -> list[str]:
        """The methods that the class under test lacks."""
        return [name for name in self.needs if not hasattr(self.subject, name)] if self.subject else []

    def unfit(self, device: Any) -> str:
        """Why it cannot run here, on `device` (a `cpugpu.device.Device`); empty if it can."""
        return next((PLACES[place][1] for place in self.only if not PLACES[place][0](device)), "")

    @property
    def title(self) -> str:
        """`hand_off[CpuGpuEvent]`."""
        return f"{self.name}[{self.subject_name}]" if self.subject_name else self.name

    def on(self, subject: Callable[[], Any], *, racy: bool | None = None, module: str | None = None) -> Scenario:
        """The same scenario with `subject` as the class under test; `module` is the one that asks for it."""
        return replace(self, subject=subject, racy=self.racy if racy is None else racy, module=module or self.module)

    def grade(self, outcome: Hashable) -> tuple[Grade, str]:
        """The grade of an outcome, and what it means in words.

        An outcome that is not listed is forbidden where accepted ones are listed, and accepted where none are; except
        that a hang and a raising thread are forbidden unless they are listed otherwise.
        """
        for grade, listed in (
            (Grade.FORBIDDEN, self.forbid),
            (Grade.INTERESTING, self.interesting),
            (Grade.ACCEPTED, self.accept),
        ):
            if outcome in listed:
                return grade, listed[outcome]
        if outcome == HANG:
            return Grade.FORBIDDEN, "a thread or the device came to a standstill"
        if isinstance(outcome, str) and outcome.startswith("raises "):
            return Grade.FORBIDDEN, "a thread raised"
        if self.accept:
            return Grade.FORBIDDEN, "not among the listed outcomes"
        return Grade.ACCEPTED, ""

    def __call__(self, rig: Rig) -> Hashable:
        """Execute it once."""
        if self.subject is None:
            return self.function(rig)
        return self.function(rig, make_event=self.subject)


#: Outcomes, or outcomes with what they mean.
Outcomes: TypeAlias = "Mapping[Any, str] | Iterable[Hashable]"


@overload
def scenario(function: Callable[..., Hashable], /) -> Scenario: ...


@overload
def scenario(
    *,
    accept: Outcomes = (),
    interesting: Outcomes = (),
    forbid: Outcomes = (),
    needs: Iterable[str] = (),
    racy: bool = False,
    breaks: Iterable[str] = (),
    only: Iterable[str] = (),
) -> Callable[[Callable[..., Hashable]], Scenario]: ...


def scenario(
    function: Callable[..., Hashable] | None = None,
    /,
    *,
    accept: Outcomes = (),
    interesting: Outcomes = (),
    forbid: Outcomes = (),
    needs: Iterable[str] = (),
    racy: bool = False,
    breaks: Iterable[str] = (),
    only: Iterable[str] = (),
) -> Scenario | Callable[[Callable[..., Hashable]], Scenario]:
    """Make a scenario of a function. Outcomes are given as a list, or as a mapping to what they mean.

    Where accepted outcomes are listed, all others are forbidden. `needs`, `racy`, `breaks` and `only`: see `Scenario`.
    `ValueError` for an `only` that is none of `PLACES`.
    """
    places = tuple(only)
    unknown = [place for place in places if place not in PLACES]
    if unknown:
        raise ValueError(f"only={unknown[0]!r}: allowed are {', '.join(map(repr, PLACES))}")
    accepted, interests, forbidden = _meanings(accept), _meanings(interesting), _meanings(forbid)

    def decorate(function: Callable[..., Hashable]) -> Scenario:
        return Scenario(
            function=function,
            name=function.__name__,
            accept=accepted,
            interesting=interests,
            forbid=forbidden,
            module=function.__module__,
            needs=tuple(needs),
            racy=racy,
            breaks=tuple(breaks),
            only=places,
        )

    return decorate if function is None else decorate(function)


def _meanings(outcomes: Outcomes) -> Mapping[Hashable, str]:
    if isinstance(outcomes, Mapping):
        return outcomes
    if isinstance(outcomes, str):
        raise TypeError(f"outcomes are a list or a mapping to what they mean, not the string {outcomes!r}")
    return dict.fromkeys(outcomes, "")
