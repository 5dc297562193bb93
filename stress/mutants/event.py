"""Mutants of the event: of `cpugpu/event.py` and `cpugpu/gate.py`."""

from __future__ import annotations

import sys

from stress.mutants.mutant import Mutant

_EVENT = "cpugpu.event:CpuGpuEvent"
_GATE = "cpugpu.gate:Gate"
#: How a wait takes the token is written in two ways, each for its interpreters.
_TAKES_IN_A_CALL = (
    """
    -    for acquired in attempts:  # noqa: B007
    -        break
    +    acquired = next(attempts)
     except BaseException:
    """
    if sys.version_info >= (3, 11)
    else """
    -    acquired.extend(itertools.islice(attempts, 1))
    +    acquired.append(next(attempts))
     except BaseException:
    """
)

EVENT = (
    # -- record()
    Mutant(
        "record-not-refused",
        "event",
        f"{_EVENT}.record",
        """
        -if not self._room.acquire(False):
        -    self._reclaim()
        +self._room.acquire(False)
        """,
        "A second record overwrites the one that nobody has consumed.",
    ),
    Mutant(
        "old-record-left",
        "event",
        f"{_EVENT}.record",
        """
        -self._handed = None
         spare, self._spare = self._spare, None
        """,
        "A record that raises leaves the record before it in the slot, for the consumer to take once more.",
    ),
    Mutant(
        "spare-not-taken",
        "event",
        f"{_EVENT}.record",
        """
        -spare, self._spare = self._spare, None
        +spare = self._spare
        """,
        "The spare device event stays the spare one while its new record waits to be consumed.",
    ),
    Mutant(
        "no-gpu-record",
        "event",
        f"{_EVENT}.record",
        """
        -    self._handed = self._device.record(stream, spare)
        +    self._handed = spare or self._device.record(stream, spare)
        """,
        "A spare device event is handed over with its old record.",
    ),
    Mutant(
        "record-on-current-stream",
        "event",
        f"{_EVENT}.record",
        """
        -    self._handed = self._device.record(stream, spare)
        +    self._handed = self._device.record(None, spare)
        """,
        "The calling thread's current stream is recorded instead of the given one.",
    ),
    Mutant(
        "gate-before-record",
        "event",
        f"{_EVENT}.record",
        """
        +self._gate.release()
         try:
             self._handed = self._device.record(stream, spare)
         except BaseException as exception:
             self._put_failure(exception)
             raise
         self._generation += 1
        -self._gate.release()
        """,
        "The consumer is let through before the device record is made.",
    ),
    Mutant(
        "failure-not-handed-over",
        "event",
        f"{_EVENT}.record",
        """
        -    self._put_failure(exception)
        +    self._room.release()
             raise
        """,
        "When the device record raises, the consumer is not told and waits for ever (P2).",
    ),
    Mutant(
        "generation-not-counted",
        "event",
        f"{_EVENT}.record",
        """
        -self._generation += 1
         self._gate.release()
        """,
        "A record does not count as a new generation.",
    ),
    # -- wait()
    Mutant(
        "slot-read-late",
        "event",
        f"{_EVENT}.wait",
        """
        -handed = self._handed
        -if handed is None:
        -    self._raise_failure()
        -self._room.release()
        +if self._handed is None:
        +    self._raise_failure()
        +self._room.release()
        +handed = self._handed
        """,
        "The slot is read after the token was given away, when the producer may have filled it anew.",
        "can be seen: the producer has to come in between two bytecodes of the consumer, for which CPython rarely"
        " changes threads; an interleaving line by line has it at once (tests/test_event_schedules.py)",
    ),
    Mutant(
        "room-after-gpu-wait",
        "event",
        f"{_EVENT}.wait",
        """
        -self._room.release()
        -if self._ending is not None:
        -    self._settle_given_away()
         try:
             self._device.wait(handed, stream)
         except BaseException:
        +    self._room.release()
             self._put_back(handed)
             raise
        +self._room.release()
        +if self._ending is not None:
        +    self._settle_given_away()
         self._spare = handed
        """,
        "The producer may go on only after the device wait has returned (P1).",
    ),
    Mutant(
        "ending-overlooked",
        "event",
        f"{_EVENT}.wait",
        """
         self._room.release()
        -if self._ending is not None:
        -    self._settle_given_away()
        """,
        "A failure that is noted while the consumer has the token in hand is not delivered.",
    ),
    Mutant(
        "no-gpu-wait",
        "event",
        f"{_EVENT}.wait",
        """
        -    self._device.wait(handed, stream)
        +    self._device.check(stream)
        """,
        "The CPU thread waits, the stream does not.",
    ),
    Mutant(
        "wait-on-current-stream",
        "event",
        f"{_EVENT}.wait",
        """
        -    self._device.wait(handed, stream)
        +    self._device.wait(handed, None)
        """,
        "The calling thread's current stream waits instead of the given one.",
    ),
    Mutant(
        "wait-not-put-back",
        "event",
        f"{_EVENT}.wait",
        """
         except BaseException:
        -    self._put_back(handed)
             raise
        """,
        "A wait that raises has consumed the record all the same, and cannot be repeated.",
    ),
    Mutant(
        "spare-before-gpu-wait",
        "event",
        f"{_EVENT}.wait",
        """
         if handed is None:
             self._raise_failure()
        +self._spare = handed
         self._room.release()
        """,
        "The device event is up for its next record while its wait is still to be made.",
    ),
    # -- synchronize(), recording(), fail(), close(), pending
    Mutant(
        "synchronize-does-not-block",
        "event",
        f"{_EVENT}.synchronize",
        """
        -    handed.synchronize()
        +    handed.query()
        """,
        "synchronize() returns before the device has reached the record.",
    ),
    Mutant(
        "recording-does-not-fail",
        "event",
        f"{_EVENT}.recording",
        """
         except BaseException as exception:
        -    self.fail(exception)
             raise
        """,
        "A producer that dies inside recording() does not tell its consumer.",
    ),
    Mutant(
        "failure-told-twice",
        "event",
        f"{_EVENT}._put_failure",
        """
        -self._failure = self._reported = exception
        +self._failure = exception
        """,
        "What record() has raised is handed over again by fail().",
    ),
    Mutant(
        "fail-reopens",
        "event",
        f"{_EVENT}.fail",
        """
        -    if exception is reported or self._ending is not None:
        +    if exception is reported:
                 return
        """,
        "fail() after close() opens the event again.",
    ),
    Mutant(
        "close-wakes-nobody",
        "event",
        f"{_EVENT}.close",
        """
             self._ending = _CLOSED
        -self._settle()
        """,
        "A wait that blocks when the event is closed stays blocked.",
    ),
    Mutant(
        "pending-stays",
        "event",
        f"{_EVENT}.pending",
        """
        -return self._handed is not None and self._room.locked() and self._ending is not _CLOSED
        +return self._handed is not None and self._ending is not _CLOSED
        """,
        "`pending` stays True when the record has been consumed.",
    ),
    # -- timeouts, Ctrl-C
    Mutant(
        "timeout-returns",
        "event",
        f"{_GATE}._block",
        """
         if not self._acquire_gate(map(self._gate.acquire, (True,), (seconds,))):
        -    raise self._timed_out()
        +    return
        """,
        "A wait returns when its time is up, as if there had been a record.",
    ),
    Mutant(
        "stall-adds-to-timeout",
        "event",
        f"{_GATE}._block",
        """
        -    timeout = None if timeout is None else timeout - stall
        """,
        "A wait with a timeout longer than CPUGPU_STALL_SECONDS lasts longer, by so many seconds.",
        "only a clock could tell, and the scenarios look at none: what is late on a busy machine is no defect",
    ),
    Mutant(
        "token-lost-on-ctrl-c",
        "event",
        f"{_GATE}._acquire_gate",
        _TAKES_IN_A_CALL,
        "Ctrl-C in the moment in which a wait gets the token loses it.",
        unexplored="signals have no model: the handler would have to come in between two bytecodes of a line",
    ),
    Mutant(
        "synchronize-timeout-returns",
        "event",
        f"{_GATE}._reached",
        """
             if self.closed or remaining <= 0:
        -        return False
        +        return True
        """,
        "synchronize(timeout) returns when its time is up, as if the device had reached the record.",
    ),
    Mutant(
        "synchronize-timeout-keeps-token",
        "event",
        f"{_EVENT}._synchronize_within",
        """
         if not reached:
        -    self._give_back()
             if self.closed:
        """,
        "A synchronize() whose time is up has consumed the record.",
    ),
    # -- what failed, what ended
    Mutant(
        "failure-stays",
        "event",
        f"{_EVENT}._raise_failure",
        """
         self._failure = None
        -self._room.release()
         if self._ending is not None:
        """,
        "A failure that was delivered stays in the way of the next record.",
    ),
    Mutant(
        "closed-for-one",
        "event",
        f"{_EVENT}._raise_failure",
        """
         if failure is _CLOSED:
        -    self._gate.release()  # where it stays, for everyone else
        +    self._room.release()
             raise self._closed_error()
        """,
        "close() wakes one of two threads that wait.",
    ),
    Mutant(
        "put-back-over-a-newer-record",
        "event",
        f"{_EVENT}._put_back",
        """
        -if self._handed is handed:
        +if self._handed is not None:
             self._returned = self._generation
        """,
        "A wait that raises offers a newer record again, which another consumer has had in the meantime.",
    ),
    Mutant(
        "put-back-not-replaceable",
        "event",
        f"{_EVENT}._put_back",
        """
         if self._handed is handed:
        -    self._returned = self._generation
             self._gate.release()
        """,
        "What a raising wait has left refuses the next record (P3).",
    ),
    Mutant(
        "failure-not-replaceable",
        "event",
        f"{_EVENT}._put_failure",
        """
         self._generation += 1
        -self._returned = self._generation
         self._gate.release()
        """,
        "A producer whose record has raised cannot record again before its consumer has looked.",
    ),
    Mutant(
        "failure-overtakes-record",
        "event",
        f"{_EVENT}._settle",
        """
        -while self._room.acquire(False) or (self._ending is _CLOSED and self._gate.acquire(False)):
        +while self._room.acquire(False) or self._gate.acquire(False):
             with self._ending_lock:
        """,
        "fail() replaces a record that nobody has consumed yet.",
    ),
)
