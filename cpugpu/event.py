"""`CpuGpuEvent`: hand device work from one CPU thread to another.

There is one token (docs/design.md has the drawing). It is in the *room* (a lock, free: the producer may record), in the
*gate* (a lock, free: there is something to wait for), or in the hands of the one thread that acquired either; that
thread alone may touch the slot. Record takes the token from the room, fills the slot and puts the token into the gate;
wait takes it from the gate and puts it back into the room, *before* its device wait. Nobody ever blocks on the room.

`close()` and `fail()` come at any moment, from any thread. They leave a note in `_ending` and then try to catch the
token; where a thread has it in hand, that thread finds the note. **Whoever gives the token away looks at `_ending`
afterwards**: both sides write first and look second, so one of the two sees the other.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from cpugpu.device import resolve
from cpugpu.errors import HandoffTimeout, ProducerFailed, ProtocolViolation
from cpugpu.gate import _CLOSED, Gate

if TYPE_CHECKING:
    from cpugpu.device import Device, DeviceEvent, DeviceLike

_numbers = itertools.count(1)


class CpuGpuEvent(Gate):
    """Hands work on a device from one producer thread to one consumer thread.

    CUDA does not order two CPU threads: a stream that waits for an event which nobody has recorded yet does not wait
    at all. `wait()` therefore blocks the calling thread until `record()` has been called, and then lets the stream
    wait for that record.

        ready = CpuGpuEvent()
        # the producer thread                  # the consumer thread
        launch_kernels(stream_1)               ready.wait(stream_2)
        ready.record(stream_1)                 launch_kernels_that_read(stream_2)

    What it guarantees: when `wait(stream)` returns, all later work of `stream` is ordered after all work that the
    recorded stream held when `record()` was called. Each record satisfies one wait; the two may be repeated for ever.

    What it does not guarantee: that the device has *done* the work when `wait()` returns. The CPU must not look at the
    results then; `synchronize()` is for that. Nor does it tell the producer when the consumer's device work is done:
    handing a buffer back takes a second event in the other direction.

    The rules: one thread records and one thread waits. A record before the last one was consumed is an error. Breaking
    the rules never lets a wait through without its record; `CPUGPU_DEBUG` makes the event say who broke them.

    A record that raises hands nothing over: the consumer gets `ProducerFailed` instead of waiting for ever, and the
    producer may record again, which replaces a failure that nobody has seen yet. A wait that raises has consumed
    nothing: it may be repeated, and a record may replace what it has left.

    `device`: a torch device or its string (`"cuda:1"`), `"host"`, `"sim"`, a `Device`, or None for what `CPUGPU_DEVICE`
    says (by default the accelerator where there is one, else the host). A device without an index takes streams of
    every device of that type. `name` is what errors, warnings and journals call the event.

    Threads may share it freely; it cannot be pickled or sent to another process.
    """

    # A device event that no wait uses any more. Also a name of the class, where the sanitizer looks on.
    _spare: DeviceEvent | None

    def __new__(cls, *args: Any, **kwargs: Any) -> CpuGpuEvent:  # noqa: ARG004
        """Make the class that the debug toggle asks for: this one, unless `CPUGPU_DEBUG` is set."""
        return object.__new__(_choose_class() if cls is CpuGpuEvent else cls)

    def __init__(self, device: DeviceLike = None, *, name: str | None = None) -> None:
        self._device: Device = resolve(device)
        super().__init__(name or f"event-{next(_numbers)}")
        self._room = threading.Lock()  # the token starts here: nothing is recorded
        # The slot. Only the thread that holds the token touches it.
        self._handed: DeviceEvent | None = None  # the record to wait for; None means: see _failure
        self._failure: BaseException | None = None
        self._generation = 0  # of the latest hand-off
        self._returned = -1  # the generation that a raising record or wait put back, which a record may replace
        self._returning = False  # a raising wait is about to put its record back, and the room may be its own
        # Outside the slot.
        self._spare = None
        self._reported: BaseException | None = None  # what the last record that raised has handed over itself
        self._ending: BaseException | None = None  # _CLOSED, or a failure that the slot had no room for
        self._ending_lock = threading.Lock()  # orders fail() and close(); the hot path never takes it

    def record(self, stream: Any = None) -> None:
        """Record the work that `stream` holds now, and let the consumer's wait through.

        `stream`: a stream of this event's device (`torch.Stream`, `torch.cuda.Stream`, a simulated stream), or None
        for the calling thread's current stream. Does not wait for the device or for the consumer.

        Raises `ProtocolViolation` (a `RuntimeError`) if the last record was not consumed yet, `HandoffClosed` after
        `close()`, `TypeError` or `ValueError` for a stream of another type or device, and what the driver raises.
        """
        if not self._room.acquire(False):
            self._reclaim()
        self._handed = None
        spare, self._spare = self._spare, None
        try:
            self._handed = self._device.record(stream, spare)
        except BaseException as exception:
            self._put_failure(exception)
            raise
        self._generation += 1
        self._gate.release()
        if self._ending is not None:
            self._settle_given_away()

    def wait(self, stream: Any = None, timeout: float | None = None) -> None:
        """Block the calling thread until `record()` was called, then order `stream` after that record.

        `stream`: as for `record`; it may be of another device than the record's. `timeout`: seconds from 0, None for
        ever. Ctrl-C interrupts it while it blocks. A wait that blocks for 60 s (`CPUGPU_STALL_SECONDS`) warns once on
        the logger `cpugpu`.

        Raises `HandoffTimeout`, `HandoffClosed` after or upon `close()`, `ProducerFailed` from what the producer
        raised, `TypeError` or `ValueError` for the arguments, and what the driver raises. It never returns unordered.
        """
        # The lines of _take(), written out: a call costs a tenth of a hand-off (benchmarks/handoff.py).
        if timeout is not None and not timeout >= 0:
            raise self._bad_timeout(timeout)
        if not self._gate.acquire(False):
            if stream is not None:
                self._device.check(stream)  # a wrong stream shall not wait for a record first
            self._block(timeout)
        handed = self._handed
        if handed is None:
            self._raise_failure()
        self._room.release()
        if self._ending is not None:
            self._settle_given_away()
        try:
            self._device.wait(handed, stream)
        except BaseException:
            self._put_back(handed)
            raise
        self._spare = handed

    def synchronize(self, timeout: float | None = None) -> None:
        """Consume the record as `wait()` does and block the calling thread until the device has reached it.

        After that the CPU may look at the results. `timeout` covers both. Raises what `wait()` raises.
        """
        if timeout is not None:
            self._synchronize_within(timeout)
            return
        handed = self._take()
        try:
            handed.synchronize()
        except BaseException:
            self._put_back(handed)
            raise
        self._spare = handed

    @contextmanager
    def recording(self, stream: Any = None) -> Iterator[None]:
        """Record when the `with` block succeeds; when it raises, hand the exception to the consumer and raise it here.

        So a producer that dies between two records cannot leave its consumer waiting.
        """
        try:
            yield
        except BaseException as exception:
            self.fail(exception)
            raise
        self.record(stream)

    def fail(self, exception: BaseException) -> None:
        """Hand `exception` over instead of a record: one wait will raise `ProducerFailed` from it.

        A record that is still unconsumed is delivered first. What `record()` itself has raised is handed over already,
        so this changes nothing then, nor while another failure waits to be delivered behind a record, nor after
        `close()`: an `except` clause may always call it.
        """
        if not isinstance(exception, BaseException):
            raise TypeError(f"fail() takes the exception that stopped the producer, not {exception!r}")
        with self._ending_lock:
            reported, self._reported = self._reported, None
            if exception is reported or self._ending is not None:
                return
            self._ending = exception
        self._settle()

    def close(self) -> None:
        """End it for good: a blocked wait and every later record and wait raise `HandoffClosed`.

        A record that nobody has consumed is dropped. A record or wait that overlaps with `close()` may go either way,
        and where the producer is stuck inside the driver, a wait that blocks already ends when the driver returns. May
        be called from any thread, more than once.
        """
        with self._ending_lock:
            self._ending = _CLOSED
        self._settle()

    @property
    def pending(self) -> bool:
        """Is there a record that nobody has consumed? Another thread may change that at any time.

        When it turns False because a wait has consumed the record, the producer may record again.
        """
        return self._handed is not None and self._room.locked() and self._ending is not _CLOSED

    @property
    def generation(self) -> int:
        """The number of the latest hand-off, 0 before the first. A failure that is handed over counts as one."""
        return self._generation

    @property
    def name(self) -> str:
        """What errors, warnings and journals call the event."""
        return self._name

    def __repr__(self) -> str:
        state = "closed" if self.closed else "recorded" if self.pending else "empty"
        return f"<{type(self).__name__} {self._name!r} on {self._device.name}: {state}, generation {self._generation}>"

    # -- the consumer's part ---------------------------------------------------------------------------------------

    def _take(self) -> DeviceEvent:
        """Take what the producer put into the slot."""
        if not self._gate.acquire(False):
            self._block(None)
        handed = self._handed
        if handed is None:
            self._raise_failure()
        self._room.release()
        if self._ending is not None:
            self._settle_given_away()
        return handed

    def _raise_failure(self) -> NoReturn:
        """With the token in hand and no record in the slot: say why."""
        failure, generation = self._failure, self._generation
        try:
            what = repr(failure)
        except Exception:  # somebody's own exception, with a defect
            what = type(failure).__name__
        if failure is _CLOSED:
            self._gate.release()  # where it stays, for everyone else
            raise self._closed_error()
        self._failure = None
        self._room.release()
        if self._ending is not None:
            self._settle()
        raise ProducerFailed(f"the producer of {self._name!r} failed in generation {generation}: {what}") from failure

    def _settle_given_away(self) -> None:
        """With the token given away: there is a note in `_ending`."""
        self._settle()
        if self._ending is _CLOSED:
            raise self._closed_error()

    def _put_back(self, handed: DeviceEvent) -> None:
        """Offer a hand-off again whose device wait raised, unless the producer has already gone on."""
        self._returning = True
        try:
            if not self._room.acquire(False):
                return
            if self._handed is handed:
                self._returned = self._generation
                self._gate.release()
            else:
                self._room.release()
        finally:
            self._returning = False
        if self._ending is not None:
            self._settle()

    def _synchronize_within(self, timeout: float) -> None:
        """`synchronize` with a timeout. It keeps the token in hand, so that it can put it back when the time is up."""
        if not timeout >= 0:
            raise self._bad_timeout(timeout)
        deadline = time.monotonic() + timeout
        if not self._gate.acquire(False):
            self._block(timeout)
        handed = self._handed
        if handed is None:
            self._raise_failure()
        self._returned = -1
        try:
            reached = self._reached(handed, deadline)
        except BaseException:
            self._returned = self._generation
            self._give_back()
            raise
        if not reached:
            self._give_back()
            if self.closed:
                raise self._closed_error()
            raise HandoffTimeout(f"the device did not reach the record of {self._name!r} in the time given")
        self._room.release()
        if self._ending is not None:
            self._settle()
        self._spare = handed

    # -- the producer's part ---------------------------------------------------------------------------------------

    def _reclaim(self) -> None:
        """The room is taken. Get the token all the same where what is in the slot may be replaced, else raise."""
        # In this order: who puts something back says so until it is there.
        while (self._returning or self._returned == self._generation) and not self.closed:
            if self._gate.acquire(False):
                if self._returned == self._generation and self._failure is not _CLOSED:
                    self._returned, self._failure = -1, None
                    return
                self._give_back()
            elif self._room.acquire(False):
                return
            time.sleep(0)  # the consumer has it in hand, for a few lines: it takes it or puts it back
        if self.closed:
            raise self._closed_error()
        what = "a record" if self.pending else "a failure"
        raise ProtocolViolation(
            f"record() on {self._name!r} was called before the previous event was consumed by wait()"
            f" (generation {self._generation}, {what}; {threading.current_thread().name} records)",
            rule="double-record",
            event=self._name,
            generation=self._generation,
            threads=(threading.current_thread().name,),
        )

    def _put_failure(self, exception: BaseException) -> None:
        """With the token in hand: hand over that this record failed, for a later record to replace."""
        self._failure = self._reported = exception
        self._generation += 1
        self._returned = self._generation
        self._gate.release()
        if self._ending is not None:
            self._settle()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Put what is noted in `_ending` into the slot, if the token can be had. If not, its holder will do this."""
        while self._room.acquire(False) or (self._ending is _CLOSED and self._gate.acquire(False)):
            with self._ending_lock:
                ending = self._ending
                if ending is not _CLOSED:
                    self._ending = None
            if ending is None:  # another thread has delivered it
                self._room.release()
            else:
                self._handed, self._failure = None, ending
                self._generation += ending is not _CLOSED
                self._gate.release()
            if self._ending is ending or self._ending is None:
                return


def _production_class() -> type[CpuGpuEvent]:
    return CpuGpuEvent


_choose_class: Callable[[], type[CpuGpuEvent]] = _production_class


def set_class_chooser(chooser: Callable[[], type[CpuGpuEvent]]) -> None:
    """Decide what `CpuGpuEvent()` makes. The package calls this once: this module must not know the debug package."""
    global _choose_class
    _choose_class = chooser
