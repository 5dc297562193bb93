"""Threads that are started together, reused from one execution to the next, and given up when they hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

#: How often a join looks whether anything still moves.
_LOOK_SECONDS = 0.1


class Task:
    """One function in one thread."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "thread")
        self.exception: BaseException | None = None
        self.done = threading.Event()


class Member:
    """A thread that runs one task after another. A new thread costs ten times what a switch to this one does."""

    def __init__(self) -> None:
        self._go = threading.Semaphore(0)
        self._task: Task | None = None
        self.thread = threading.Thread(target=self._loop, name="cpugpu hammer", daemon=True)
        self.thread.start()

    def give(self, task: Task | None) -> None:
        """Have it run `task`, or end for None."""
        self._task = task
        self._go.release()

    def _loop(self) -> None:
        while True:
            self._go.acquire()
            task, self._task = self._task, None
            if task is None:
                return
            self.thread.name = task.name
            try:
                task.function()
            except BaseException as exception:
                task.exception = exception
            task.done.set()
            del task


class Team:
    """Runs tasks together and joins them."""

    def __init__(self) -> None:
        self._idle: list[Member] = []
        self._used: list[Member] = []

    def begin(self) -> None:
        """A new execution. Within one, every function gets a thread of its own: classes under test look at that."""
        self._idle += self._used
        self._used.clear()

    def run(self, tasks: Sequence[Task], moves: Callable[[], int], patience: float) -> bool:
        """Start `tasks` together and join them. False if they came to a standstill.

        That is: nothing has moved for `patience` seconds, or for a fifth of that once a task has raised, since the
        others may have been waiting for it. `moves` counts what moves beside the ending of tasks. Threads that stand
        still are given up: Python cannot end them.
        """
        members = [self._idle.pop() if self._idle else Member() for _ in tasks]
        for member, task in zip(members, tasks, strict=True):
            member.give(task)
        joined = self._join(tasks, moves, patience)
        for member, task in zip(members, tasks, strict=True):
            if task.done.is_set():
                self._used.append(member)
            else:
                member.give(None)  # should it ever come to its end
        return joined

    def close(self) -> None:
        """End the threads that are idle."""
        self.begin()
        for member in self._idle:
            member.give(None)
        self._idle.clear()

    def _join(self, tasks: Sequence[Task], moves: Callable[[], int], patience: float) -> bool:
        seen, since = -1, 0.0
        for task in tasks:
            while not task.done.wait(_LOOK_SECONDS):
                now, count = time.monotonic(), moves() + sum(other.done.is_set() for other in tasks)
                if count != seen:
                    seen, since = count, now
                elif now - since > (patience / 5 if any(other.exception for other in tasks) else patience):
                    return False
        return True
