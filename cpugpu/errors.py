"""Every exception that cpugpu raises on purpose.

Those of the hand-off are `RuntimeError`s, so code written for the classes that came before keeps catching what it
caught. Wrong arguments are `TypeError` and `ValueError`, as everywhere in Python.
"""

from __future__ import annotations

from collections.abc import Sequence


class HandoffError(RuntimeError):
    """Something is wrong with a hand-off. The base of the errors below."""


class ProtocolViolation(HandoffError):
    """A thread broke the rules of the hand-off.

    `rule` is the stable name of the rule (`"double-record"`), `event` the event's name, `generation` the hand-off that
    it happened in, `threads` the names of the threads concerned, the offender first, and `history` what the journal
    remembers of this event, oldest first (empty unless a journal is kept).
    """

    def __init__(
        self,
        message: str,
        *,
        rule: str = "",
        event: str = "",
        generation: int = 0,
        threads: Sequence[str] = (),
        history: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.rule = rule
        self.event = event
        self.generation = generation
        self.threads = tuple(threads)
        self.history = tuple(history)


class HandoffTimeout(HandoffError, TimeoutError):
    """The time given to a wait ran out. Nothing was consumed: a later wait may still take the hand-off."""


class HandoffClosed(HandoffError):
    """The event was closed: there will be no further hand-off, and one that nobody had consumed is dropped."""


class ProducerFailed(HandoffError):
    """The producer failed instead of recording. Its exception is the `__cause__`."""


class DeviceError(RuntimeError):
    """A simulated device is in a state of error, or refuses a call: what CUDA reports as a `cudaError`."""


class SimulationError(RuntimeError):
    """`cpugpu.simulate` cannot do what was asked for. The base of the two errors below."""


class SimulationOver(SimulationError):
    """Something of a simulated device was used after its `simulate()` block had ended."""


class NotSimulated(SimulationError):
    """The program launches what only a real device can run. The text names it, and how to supply a stand-in."""


class SanitizerError(RuntimeError):
    """The sanitizer has found something, and was told to raise. `rule` is the name of the broken rule."""

    def __init__(self, message: str, *, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class BadInput(ValueError):
    """What was asked for cannot be had: an option, a folder, a cluster. The text is one line that says what is allowed.

    A class of its own, so that whoever turns it into an exit status catches no mistake of this package with it.
    """
