"""Small programs over threads whose orders of steps have been counted: what an explorer is graded by.

    for program in PROGRAMS:
        program.scenario          # an ordinary scenario, over rig.cell, rig.until, rig.run and threading's primitives
        program.interleavings     # N: complete runs, that is, what unbounded depth-first search executes
        program.failing           # how many of them fail: `scenario.grade(outcome)` is forbidden
        program.traces            # T: Mazurkiewicz traces, that is, what an optimal reduction executes
        program.failing_traces    # those that fail
        program.passing_traces    # those that do not
        program.preemptions       # the fewest preemptions of a failing run, None where none fails
        program.bounded           # interleavings with at most 0, 1 and 2 preemptions

What a step is, and when two conflict, is said in `tests.small.oracle`, whose figures these are. A run ends when a thread
raises. Where that leaves others with steps that they could take, how many such cut runs make a trace is a matter of
definition: `traces` and `failing_traces` are None, `passing_traces` holds, and `failing` says whether any must be found.

Figures of up to a million interleavings have been computed in two ways, by executing every one of them
(`oracle.interleavings`), and as paths in the graph of trace prefixes (`oracle.measure`). Larger ones were computed in the
second way only. Closed forms are in `tests/small/test_oracle.py`. To print the row of a program:
`python -m tests.small.programs NAME`.

`random_program(seed)` makes a program that nobody has thought of, with its figures, of at most `LARGEST` interleavings.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cpugpu.rig import Cell, Rig, Scenario, scenario
from tests.small.oracle import Figures, TooLarge, measure

LARGEST = 5000


@dataclass(frozen=True)
class Program:
    """A scenario and its figures. See the module."""

    name: str
    scenario: Scenario
    interleavings: int
    failing: int
    traces: int | None
    failing_traces: int | None
    passing_traces: int
    preemptions: int | None
    bounded: tuple[int, int, int] | None


judged = scenario(accept=["right"], forbid=["wrong"])


def _verdict(right: bool) -> str:
    return "right" if right else "wrong"


def _increment(value: int) -> int:
    return value + 1


def _decrement(value: int) -> int:
    return value - 1


# -- threads that have nothing to do with each other ------------------------------------------------------------------


def independent(*steps: int) -> Scenario:
    """Each thread sets a cell of its own, so many times."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cells = [rig.cell(0) for _ in steps]

        def thread(cell: Cell[int], count: int) -> Callable[[], None]:
            def body() -> None:
                for value in range(count):
                    cell.set(value + 1)

            return body

        rig.run(*map(thread, cells, steps))
        return _verdict(tuple(cell.get() for cell in cells) == steps)

    return program


def only_readers(threads: int) -> Scenario:
    """All threads read one cell: all orders are one trace."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(7)
        rig.run(*[cell.get] * threads)
        return cell.get()

    return program


# -- check then act, lost updates, races on cells ---------------------------------------------------------------------


def check_then_act(threads: int) -> Scenario:
    """Whoever finds the flag down believes that it has won."""

    @judged
    def program(rig: Rig) -> Hashable:
        flag, wins = rig.cell(0), rig.cell(0)

        def producer() -> None:
            if flag.get():
                return
            flag.set(1)
            wins.update(_increment)

        rig.run(*[producer] * threads)
        return _verdict(wins.get() == 1)

    return program


def check_then_act_locked(threads: int) -> Scenario:
    @judged
    def program(rig: Rig) -> Hashable:
        flag, wins, lock = rig.cell(0), rig.cell(0), threading.Lock()

        def producer() -> None:
            lock.acquire()
            if not flag.get():
                flag.set(1)
                wins.update(_increment)
            lock.release()

        rig.run(*[producer] * threads)
        return _verdict(wins.get() == 1)

    return program


def lost_update(threads: int, times: int = 1) -> Scenario:
    """Read, add one, write."""

    @judged
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)

        def adder() -> None:
            for _ in range(times):
                cell.set(cell.get() + 1)

        rig.run(*[adder] * threads)
        return _verdict(cell.get() == threads * times)

    return program


def updates(threads: int, times: int = 1) -> Scenario:
    """Atomic additions: every order is a trace of its own."""

    @judged
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)

        def adder() -> None:
            for _ in range(times):
                cell.update(_increment)

        rig.run(*[adder] * threads)
        return _verdict(cell.get() == threads * times)

    return program


def uneven(times: int) -> Scenario:
    """The one step of the first thread must come after the many of the second, for the failure to show."""

    @judged
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(1)

        def many() -> None:
            for _ in range(times):
                cell.set(1)

        rig.run(lambda: cell.set(0), many)
        return _verdict(cell.get() != 0)

    return program


def readers(count: int) -> Scenario:
    """One writer and many readers: each reader is before or after the writer, hence two to the power of `count`."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cell, seen = rig.cell(0), [rig.cell(0) for _ in range(count)]

        def reader(mine: Cell[int]) -> Callable[[], None]:
            return lambda: mine.set(cell.get())

        rig.run(lambda: cell.set(1), *map(reader, seen))
        return tuple(mine.get() for mine in seen)

    return program


def writers(count: int) -> Scenario:
    """Many writers and one reader of one cell: any order counts."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cell, seen = rig.cell(0), rig.cell(0)

        def writer(value: int) -> Callable[[], None]:
            return lambda: cell.set(value)

        rig.run(*(writer(value) for value in range(1, count + 1)), lambda: seen.set(cell.get()))
        return seen.get(), cell.get()

    return program


def last_zero(count: int) -> Scenario:
    """From the papers on optimal reduction: where the search of the first thread goes depends on all others."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cells, found = [rig.cell(0) for _ in range(count + 1)], [-1]

        def search() -> None:
            position = count
            while cells[position].get() != 0:
                position -= 1
            found[0] = position

        def chain(position: int) -> Callable[[], None]:
            return lambda: cells[position].set(cells[position - 1].get() + 1)

        rig.run(search, *(chain(position) for position in range(1, count + 1)))
        return found[0], tuple(cell.get() for cell in cells)

    return program


def fibonacci(times: int) -> Scenario:
    """SV-COMP's fib_bench: two threads add each other's number. Only perfect alternation reaches the greatest one."""
    greatest = [1, 1]
    for _ in range(2 * times):
        greatest.append(greatest[-1] + greatest[-2])

    @judged
    def program(rig: Rig) -> Hashable:
        first, second = rig.cell(1), rig.cell(1)

        def adder(to: Cell[int], other: Cell[int]) -> Callable[[], None]:
            def body() -> None:
                for _ in range(times):
                    to.set(to.get() + other.get())

            return body

        rig.run(adder(first, second), adder(second, first))
        return _verdict(max(first.get(), second.get()) < greatest[-1])

    return program


def message_passing(ordered: bool = True) -> Scenario:
    """Data, then a flag; the other thread looks at the flag, then at the data."""

    @judged
    def program(rig: Rig) -> Hashable:
        data, flag, seen = rig.cell(0), rig.cell(0), [(0, 0)]

        def sender() -> None:
            for cell in (data, flag) if ordered else (flag, data):
                cell.set(1)

        def receiver() -> None:
            ready = flag.get()
            seen[0] = (ready, data.get())

        rig.run(sender, receiver)
        return _verdict(seen[0] != (1, 0))

    return program


def store_buffering() -> Scenario:
    """Dekker's core: at least one thread sees the other's store, as the cells are sequentially consistent."""

    @scenario(forbid=[(0, 0)])
    def program(rig: Rig) -> Hashable:
        cells, seen = [rig.cell(0), rig.cell(0)], [0, 0]

        def thread(me: int) -> Callable[[], None]:
            def body() -> None:
                cells[me].set(1)
                seen[me] = cells[1 - me].get()

            return body

        rig.run(thread(0), thread(1))
        return tuple(seen)

    return program


def independent_reads_of_independent_writes() -> Scenario:
    """Two writers of two cells, two readers who never disagree about which write came first."""

    @judged
    def program(rig: Rig) -> Hashable:
        x, y = rig.cell(0), rig.cell(0)
        seen: list[tuple[int, int]] = [(0, 0), (0, 0)]

        def reader(me: int, first: Cell[int], second: Cell[int]) -> Callable[[], None]:
            def body() -> None:
                one = first.get()
                seen[me] = (one, second.get())

            return body

        rig.run(lambda: x.set(1), lambda: y.set(1), reader(0, x, y), reader(1, y, x))
        return _verdict(seen != [(1, 0), (1, 0)])

    return program


def reorder(setters: int) -> Scenario:
    """SCTBench's reorder: the checker must come between the two writes of some setter, and before those of others."""

    @scenario
    def program(rig: Rig) -> Hashable:
        a, b = rig.cell(0), rig.cell(0)

        def setter() -> None:
            a.set(1)
            b.set(-1)

        def checker() -> None:
            one = a.get()
            assert (one, b.get()) in ((0, 0), (1, -1))

        rig.run(*[setter] * setters, checker)
        return "done"

    return program


def midway() -> Scenario:
    """The assertion of one thread may fail while others have much left to do."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cell, other = rig.cell(0), rig.cell(0)

        def worker() -> None:
            cell.set(1)
            for _ in range(3):
                other.update(_increment)
            cell.set(0)

        def checker() -> None:
            assert cell.get() == 0
            other.update(_increment)

        rig.run(worker, checker)
        return other.get()

    return program


def always_fails() -> Scenario:
    """Whatever the order, one of two threads fails, at its first or second step."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cell = rig.cell(0)

        def thread() -> None:
            assert cell.update(_increment) < 2
            cell.get()

        rig.run(thread, thread)
        return "done"

    return program


# -- locks ------------------------------------------------------------------------------------------------------------


def locked_counter(threads: int, times: int = 1) -> Scenario:
    @judged
    def program(rig: Rig) -> Hashable:
        cell, lock = rig.cell(0), threading.Lock()

        def adder() -> None:
            for _ in range(times):
                with lock:
                    cell.set(cell.get() + 1)

        rig.run(*[adder] * threads)
        return _verdict(cell.get() == threads * times)

    return program


def own_locks(threads: int) -> Scenario:
    """Each thread has a lock of its own, and a cell: all orders are one trace."""

    @scenario
    def program(rig: Rig) -> Hashable:
        cells = [rig.cell(0) for _ in range(threads)]

        def adder(cell: Cell[int]) -> Callable[[], None]:
            lock = threading.Lock()

            def body() -> None:
                with lock:
                    cell.update(_increment)

            return body

        rig.run(*map(adder, cells))
        return tuple(cell.get() for cell in cells)

    return program


def account_bad() -> Scenario:
    """The checker expects a balance that is never there once both others are done."""

    @scenario
    def program(rig: Rig) -> Hashable:
        balance, deposited, withdrawn, lock = rig.cell(1), rig.cell(0), rig.cell(0), threading.Lock()

        def teller(amount: int, done: Cell[int]) -> Callable[[], None]:
            def body() -> None:
                lock.acquire()
                balance.set(balance.get() + amount)
                done.set(1)
                lock.release()

            return body

        def checker() -> None:
            lock.acquire()
            if deposited.get() and withdrawn.get():
                assert balance.get() == -5
            lock.release()

        rig.run(teller(2, deposited), teller(-4, withdrawn), checker)
        return "done"

    return program


def abba() -> Scenario:
    @judged
    def program(rig: Rig) -> Hashable:
        a, b, cell = threading.Lock(), threading.Lock(), rig.cell(0)

        def thread(first: Any, second: Any) -> Callable[[], None]:
            def body() -> None:
                first.acquire()
                second.acquire()
                cell.set(cell.get() + 1)
                second.release()
                first.release()

            return body

        rig.run(thread(a, b), thread(b, a))
        return _verdict(cell.get() == 2)

    return program


def lock_orders(*orders: str) -> Scenario:
    """Each thread takes the locks that its word names, in that order, and then releases them in the same order."""

    @scenario
    def program(rig: Rig) -> Hashable:
        locks = {letter: threading.Lock() for letter in sorted(set("".join(orders)))}

        def thread(order: str) -> Callable[[], None]:
            def body() -> None:
                for letter in order:
                    locks[letter].acquire()
                for letter in order:
                    locks[letter].release()

            return body

        rig.run(*map(thread, orders))
        return "done"

    return program


def philosophers(count: int, ordered: bool = False) -> Scenario:
    """Each takes the fork on the left, then the one on the right. `ordered`: the lower one first."""

    @scenario
    def program(rig: Rig) -> Hashable:
        forks = [threading.Lock() for _ in range(count)]

        def philosopher(seat: int) -> Callable[[], None]:
            first, second = seat, (seat + 1) % count
            if ordered:
                first, second = sorted((first, second))

            def body() -> None:
                forks[first].acquire()
                forks[second].acquire()
                forks[second].release()
                forks[first].release()

            return body

        rig.run(*map(philosopher, range(count)))
        return "done"

    return program


def two_stage() -> Scenario:
    """SCTBench's twostage: the two fields are each guarded, and not together."""

    @scenario
    def program(rig: Rig) -> Hashable:
        first, second, d1, d2 = threading.Lock(), threading.Lock(), rig.cell(0), rig.cell(0)

        def writer() -> None:
            first.acquire()
            d1.set(1)
            first.release()
            second.acquire()
            d2.set(d1.get() + 1)
            second.release()

        def reader() -> None:
            first.acquire()
            one = d1.get()
            if one == 0:
                first.release()
                return
            first.release()
            second.acquire()
            two = d2.get()
            second.release()
            assert two == one + 1

        rig.run(writer, reader)
        return "done"

    return program


def wrong_lock(right: int, wrong: int = 1) -> Scenario:
    """SCTBench's wronglock: all guard the cell, some with another lock."""

    @judged
    def program(rig: Rig) -> Hashable:
        cell, lock, another = rig.cell(0), threading.Lock(), threading.Lock()

        def adder(guard: Any) -> Callable[[], None]:
            def body() -> None:
                with guard:
                    cell.set(cell.get() + 1)

            return body

        rig.run(*[adder(lock)] * right, *[adder(another)] * wrong)
        return _verdict(cell.get() == right + wrong)

    return program


def lazy01() -> Scenario:
    """SCTBench's lazy01: the third thread fails if it comes after the two others."""

    @scenario
    def program(rig: Rig) -> Hashable:
        data, lock = rig.cell(0), threading.Lock()

        def adder(amount: int) -> Callable[[], None]:
            def body() -> None:
                lock.acquire()
                data.set(data.get() + amount)
                lock.release()

            return body

        def checker() -> None:
            lock.acquire()
            assert data.get() < 3
            lock.release()

        rig.run(adder(1), adder(2), checker)
        return "done"

    return program


def nested_locks(threads: int) -> Scenario:
    """An outer and an inner lock, always in this order; the inner one is also taken alone."""

    @judged
    def program(rig: Rig) -> Hashable:
        outer, inner, cell = threading.Lock(), threading.Lock(), rig.cell(0)

        def nester() -> None:
            with outer, inner:
                cell.update(_increment)

        def other() -> None:
            with inner:
                cell.update(_increment)

        rig.run(*[nester] * (threads - 1), other)
        return _verdict(cell.get() == threads)

    return program


def hand_over_hand(length: int) -> Scenario:
    """Two threads walk along a list, and hold a node's lock until they have that of the next."""

    @judged
    def program(rig: Rig) -> Hashable:
        locks, cells = [threading.Lock() for _ in range(length)], [rig.cell(0) for _ in range(length)]

        def walker() -> None:
            locks[0].acquire()
            for position in range(length):
                cells[position].set(cells[position].get() + 1)
                if position + 1 < length:
                    locks[position + 1].acquire()
                locks[position].release()

        rig.run(walker, walker)
        return _verdict(all(cell.get() == 2 for cell in cells))

    return program


def double_checked(published_early: bool = False) -> Scenario:
    """A value is made once: look, lock, look again. `published_early`: it can be seen before it is complete."""

    @scenario
    def program(rig: Rig) -> Hashable:
        ready, value, made, lock = rig.cell(0), rig.cell(0), rig.cell(0), threading.Lock()

        def user() -> None:
            if not ready.get():
                lock.acquire()
                if not ready.get():
                    made.update(_increment)
                    for cell in (ready, value) if published_early else (value, ready):
                        cell.set(1)
                lock.release()
            assert value.get() == 1

        rig.run(user, user)
        return "once" if made.get() == 1 else "twice"

    return program


def try_lock(threads: int) -> Scenario:
    """Who does not get the lock at once does without."""

    @scenario
    def program(rig: Rig) -> Hashable:
        lock, inside, given_up = threading.Lock(), rig.cell(0), rig.cell(0)

        def thread() -> None:
            if lock.acquire(False):
                inside.update(_increment)
                lock.release()
            else:
                given_up.update(_increment)

        rig.run(*[thread] * threads)
        assert inside.get() + given_up.get() == threads
        return given_up.get()

    return program


def try_lock_abba() -> Scenario:
    """ABBA where the second lock is only tried: nobody hangs, both may fail."""

    @judged
    def program(rig: Rig) -> Hashable:
        a, b, done = threading.Lock(), threading.Lock(), rig.cell(0)

        def thread(first: Any, second: Any) -> Callable[[], None]:
            def body() -> None:
                first.acquire()
                if second.acquire(blocking=False):
                    done.update(_increment)
                    second.release()
                first.release()

            return body

        rig.run(thread(a, b), thread(b, a))
        return _verdict(done.get() > 0)

    return program


def handed_over_lock() -> Scenario:
    """A lock that one thread takes and another releases."""

    @scenario
    def program(rig: Rig) -> Hashable:
        lock, cell = threading.Lock(), rig.cell(0)
        lock.acquire()

        def opener() -> None:
            cell.set(1)
            lock.release()

        def waiter() -> None:
            lock.acquire()
            assert cell.get() == 1

        rig.run(opener, waiter)
        return "done"

    return program


def string_buffer() -> Scenario:
    """RADBench's StringBuffer.append: the length is read under one hold of the lock, the text under another."""

    @scenario
    def program(rig: Rig) -> Hashable:
        text, lock = rig.cell("abc"), threading.Lock()

        def appender() -> None:
            lock.acquire()
            length = len(text.get())
            lock.release()
            lock.acquire()
            assert len(text.get()) >= length
            lock.release()

        def eraser() -> None:
            lock.acquire()
            text.set("")
            lock.release()

        rig.run(appender, eraser)
        return "done"

    return program


def bluetooth() -> Scenario:
    """SCTBench's bluetooth_driver: a request is begun after the driver has been stopped."""

    @scenario
    def program(rig: Rig) -> Hashable:
        pending, stopping, stopped = rig.cell(1), rig.cell(0), rig.cell(0)
        nobody = rig.cell(0)

        def request() -> None:
            if stopping.get():
                return
            pending.update(_increment)
            if not stopping.get():
                assert not stopped.get()
            if pending.update(_decrement) == 0:
                nobody.set(1)

        def stop() -> None:
            stopping.set(1)
            if pending.update(_decrement) == 0:
                nobody.set(1)
            rig.until(lambda: bool(nobody.get()), nobody)
            stopped.set(1)

        def careless() -> None:
            if stopping.get():
                return
            pending.update(_increment)
            assert not stopped.get()
            if pending.update(_decrement) == 0:
                nobody.set(1)

        rig.run(request, stop, careless)
        return "done"

    return program


def file_system(threads: int, inodes: int, blocks: int) -> Scenario:
    """The file system of the first paper on dynamic reduction, with fewer inodes and blocks."""

    @judged
    def program(rig: Rig) -> Hashable:
        inode_locks, block_locks = ([threading.Lock() for _ in range(count)] for count in (inodes, blocks))
        inode, busy = [rig.cell(0) for _ in range(inodes)], [rig.cell(0) for _ in range(blocks)]

        def allocate(number: int) -> Callable[[], None]:
            def body() -> None:
                mine = number % inodes
                with inode_locks[mine]:
                    if inode[mine].get():
                        return
                    block = mine * 2 % blocks
                    while True:
                        with block_locks[block]:
                            if not busy[block].get():
                                busy[block].set(1)
                                inode[mine].set(block + 1)
                                return
                        block = (block + 1) % blocks

            return body

        rig.run(*map(allocate, range(threads)))
        taken = [cell.get() for cell in inode if cell.get()]
        return _verdict(len(taken) == len(set(taken)) == sum(cell.get() for cell in busy))

    return program


def indexer(threads: int, messages: int, size: int) -> Scenario:
    """The indexer of the same paper: a hash table, filled by compare and swap."""

    @judged
    def program(rig: Rig) -> Hashable:
        table = [rig.cell(0) for _ in range(size)]

        def insert(me: int) -> Callable[[], None]:
            def body() -> None:
                for number in range(messages):
                    word = number * 11 + me + 1
                    slot = word * 7 % size
                    while table[slot].update(lambda found, word=word: found or word) != word:  # type: ignore[misc]
                        slot = (slot + 1) % size

            return body

        rig.run(*map(insert, range(threads)))
        return _verdict(sum(bool(cell.get()) for cell in table) == threads * messages)

    return program


# -- semaphores -------------------------------------------------------------------------------------------------------


def bounded_buffer(producers: int, items: int, slots: int) -> Scenario:
    """Producers and one consumer, with a semaphore for either direction."""

    @judged
    def program(rig: Rig) -> Hashable:
        empty, full, lock = threading.Semaphore(slots), threading.Semaphore(0), threading.Lock()
        queue, got = rig.cell(()), []

        def producer(number: int) -> Callable[[], None]:
            def body() -> None:
                for item in range(items):
                    empty.acquire()
                    with lock:
                        queue.set((*queue.get(), (number, item)))
                    full.release()

            return body

        def consumer() -> None:
            for _ in range(producers * items):
                full.acquire()
                with lock:
                    first, *rest = queue.get()
                    queue.set(tuple(rest))
                empty.release()
                got.append(first)

        rig.run(*map(producer, range(producers)), consumer)
        return _verdict(len(set(got)) == producers * items)

    return program


def several_releasers(releasers: int, acquirers: int = 1) -> Scenario:
    """Any one of the releases lets a waiting thread go on."""

    @scenario
    def program(rig: Rig) -> Hashable:
        semaphore, cell = threading.Semaphore(0), rig.cell(0)

        def acquirer() -> None:
            semaphore.acquire()
            cell.update(_increment)

        rig.run(*[acquirer] * acquirers, *[semaphore.release] * releasers)
        return cell.get()

    return program


def semaphore_of(value: int, threads: int) -> Scenario:
    """So many threads at a time."""

    @scenario
    def program(rig: Rig) -> Hashable:
        semaphore, inside = threading.Semaphore(value), rig.cell(0)

        def thread() -> None:
            semaphore.acquire()
            count = inside.update(_increment)
            inside.update(_decrement)
            semaphore.release()
            assert count <= value

        rig.run(*[thread] * threads)
        return "done"

    return program


def semaphore_try() -> Scenario:
    """Three threads, two permits, nobody waits."""

    @scenario
    def program(rig: Rig) -> Hashable:
        semaphore, got = threading.Semaphore(2), rig.cell(0)

        def thread() -> None:
            if semaphore.acquire(blocking=False):
                got.update(_increment)

        rig.run(thread, thread, thread)
        return got.get()

    return program


def never_released(others: int) -> Scenario:
    """A thread waits for a semaphore that nobody releases; the others are independent of it."""

    @scenario
    def program(rig: Rig) -> Hashable:
        semaphore, cell = threading.Semaphore(0), rig.cell(0)
        rig.run(semaphore.acquire, *[cell.get] * others)
        return "done"

    return program


def semaphore_pair() -> Scenario:
    """Strict alternation between two threads: there is only one order."""

    @judged
    def program(rig: Rig) -> Hashable:
        first, second, word = threading.Semaphore(1), threading.Semaphore(0), rig.cell("")

        def thread(mine: Any, other: Any, letter: str) -> Callable[[], None]:
            def body() -> None:
                for _ in range(3):
                    mine.acquire()
                    word.set(word.get() + letter)
                    other.release()

            return body

        rig.run(thread(first, second, "a"), thread(second, first, "b"))
        return _verdict(word.get() == "ababab")

    return program


def readers_writer(count: int) -> Scenario:
    """The classic lock for readers and writers: the first reader takes the room, the last one gives it back."""

    @judged
    def program(rig: Rig) -> Hashable:
        room, lock, inside, data = threading.Semaphore(1), threading.Lock(), rig.cell(0), rig.cell((0, 0))
        seen: list[tuple[int, int]] = []

        def reader() -> None:
            lock.acquire()
            if inside.update(_increment) == 1:
                room.acquire()
            lock.release()
            seen.append(data.get())
            lock.acquire()
            if inside.update(_decrement) == 0:
                room.release()
            lock.release()

        def writer() -> None:
            room.acquire()
            data.set((1, 0))
            data.set((1, 1))
            room.release()

        rig.run(*[reader] * count, writer)
        return _verdict((1, 0) not in seen)

    return program


# -- condition variables ----------------------------------------------------------------------------------------------


def lost_wakeup() -> Scenario:
    """The flag is looked at without the lock, so that it can be raised just before the wait."""

    @scenario
    def program(rig: Rig) -> Hashable:
        flag, lock = rig.cell(0), threading.Lock()
        condition = threading.Condition(lock)

        def waiter() -> None:
            if not flag.get():
                with lock:
                    condition.wait()

        def notifier() -> None:
            flag.set(1)
            with lock:
                condition.notify()

        rig.run(waiter, notifier)
        return "done"

    return program


def lost_wakeup_ok() -> Scenario:
    @scenario
    def program(rig: Rig) -> Hashable:
        flag, lock = rig.cell(0), threading.Lock()
        condition = threading.Condition(lock)

        def waiter() -> None:
            with lock:
                while not flag.get():
                    condition.wait()

        def notifier() -> None:
            with lock:
                flag.set(1)
                condition.notify()

        rig.run(waiter, notifier)
        return "done"

    return program


def waiters(count: int, notify: str) -> Scenario:
    """Several threads wait for a flag. `notify`: "one", "all", or "each", which is one notify after another."""

    @scenario
    def program(rig: Rig) -> Hashable:
        flag, lock = rig.cell(0), threading.Lock()
        condition = threading.Condition(lock)

        def waiter() -> None:
            with condition:
                while not flag.get():
                    condition.wait()

        def notifier() -> None:
            with condition:
                flag.set(1)
                if notify == "all":
                    condition.notify_all()
                else:
                    for _ in range(count if notify == "each" else 1):
                        condition.notify()

        rig.run(*[waiter] * count, notifier)
        return "done"

    return program


def first_in_first_out() -> Scenario:
    """Who has slept longest is woken first: the one permit goes to the one who came first, if both sleep."""

    @judged
    def program(rig: Rig) -> Hashable:
        lock, slept, woken = threading.Lock(), rig.cell(""), rig.cell("")
        condition = threading.Condition(lock)

        def sleeper(letter: str) -> Callable[[], None]:
            def body() -> None:
                with condition:
                    slept.set(slept.get() + letter)
                    condition.wait()
                    woken.set(woken.get() + letter)

            return body

        def notifier() -> None:
            rig.until(lambda: len(slept.get()) == 2, slept)
            for number in (1, 2):
                with condition:
                    condition.notify()
                rig.until(lambda number=number: len(woken.get()) == number, woken)  # type: ignore[misc]

        rig.run(sleeper("a"), sleeper("b"), notifier)
        return _verdict(slept.get() == woken.get())

    return program


def stolen_wakeup() -> Scenario:
    """An `if` where a `while` belongs: another consumer takes the item before the one who was woken for it."""

    @scenario
    def program(rig: Rig) -> Hashable:
        items, lock = rig.cell(0), threading.Lock()
        condition = threading.Condition(lock)

        def consumer() -> None:
            lock.acquire()
            if not items.get():
                condition.wait()
            assert items.update(_decrement) >= 0
            lock.release()

        def producer() -> None:
            for _ in range(2):
                lock.acquire()
                items.update(_increment)
                condition.notify()
                lock.release()

        rig.run(consumer, consumer, producer)
        return "done"

    return program


def one_condition_for_both(consumers: int, items: int) -> Scenario:
    """One slot, one condition, notify one: a consumer may wake a consumer, and then all sleep."""

    @scenario
    def program(rig: Rig) -> Hashable:
        slot, lock = rig.cell(0), threading.Lock()
        condition = threading.Condition(lock)

        def producer() -> None:
            for _ in range(items):
                with lock:
                    while slot.get():
                        condition.wait()
                    slot.set(1)
                    condition.notify()

        def consumer() -> None:
            with lock:
                while not slot.get():
                    condition.wait()
                slot.set(0)
                condition.notify()

        rig.run(producer, *[consumer] * consumers)
        return "done"

    return program


def condition_barrier(threads: int) -> Scenario:
    """The last to arrive wakes all the others."""

    @scenario
    def program(rig: Rig) -> Hashable:
        arrived, lock = rig.cell(0), threading.Lock()
        condition = threading.Condition(lock)

        def thread() -> None:
            with condition:
                if arrived.update(_increment) == threads:
                    condition.notify_all()
                while arrived.get() < threads:
                    condition.wait()

        rig.run(*[thread] * threads)
        return "done"

    return program


def never_notified() -> Scenario:
    """A thread sleeps and nobody wakes it; the other does its work."""

    @scenario
    def program(rig: Rig) -> Hashable:
        condition, cell = threading.Condition(threading.Lock()), rig.cell(0)

        def sleeper() -> None:
            with condition:
                condition.wait()

        def worker() -> None:
            cell.set(1)
            with condition:
                cell.set(2)

        rig.run(sleeper, worker)
        return "done"

    return program


# -- waiting for cells ------------------------------------------------------------------------------------------------


def peterson(swapped: bool = False) -> Scenario:
    """Mutual exclusion with two flags and a turn. `swapped`: the turn is given away before the flag is raised."""

    @scenario
    def program(rig: Rig) -> Hashable:
        flags, turn, inside = [rig.cell(0), rig.cell(0)], rig.cell(0), rig.cell(0)

        def thread(me: int) -> Callable[[], None]:
            other = 1 - me

            def body() -> None:
                if swapped:
                    turn.set(other)
                flags[me].set(1)
                if not swapped:
                    turn.set(other)
                rig.until(lambda: not flags[other].get() or turn.get() == me, flags[other], turn)
                assert inside.update(_increment) == 1
                inside.update(_decrement)
                flags[me].set(0)

            return body

        rig.run(thread(0), thread(1))
        return "done"

    return program


def dekker() -> Scenario:
    """Dekker's mutual exclusion, with its loops as waits."""

    @scenario
    def program(rig: Rig) -> Hashable:
        flags, turn, inside = [rig.cell(0), rig.cell(0)], rig.cell(0), rig.cell(0)

        def thread(me: int) -> Callable[[], None]:
            other = 1 - me

            def body() -> None:
                flags[me].set(1)
                if flags[other].get():
                    if turn.get() != me:
                        flags[me].set(0)
                        rig.until(lambda: turn.get() == me, turn)
                        flags[me].set(1)
                    rig.until(lambda: not flags[other].get(), flags[other])
                assert inside.update(_increment) == 1
                inside.update(_decrement)
                turn.set(other)
                flags[me].set(0)

            return body

        rig.run(thread(0), thread(1))
        return "done"

    return program


def flag_mutex() -> Scenario:
    """Look at the other's flag, then raise one's own: both may be inside."""

    @judged
    def program(rig: Rig) -> Hashable:
        flags, inside, met = [rig.cell(0), rig.cell(0)], rig.cell(0), [False, False]

        def thread(me: int) -> Callable[[], None]:
            def body() -> None:
                rig.until(lambda: not flags[1 - me].get(), flags[1 - me])
                flags[me].set(1)
                met[me] = inside.update(_increment) == 2
                inside.update(_decrement)
                flags[me].set(0)

            return body

        rig.run(thread(0), thread(1))
        return _verdict(not any(met))

    return program


def flags_first() -> Scenario:
    """Raise one's own flag, then wait for the other's to fall: both may wait for ever."""

    @scenario
    def program(rig: Rig) -> Hashable:
        flags = [rig.cell(0), rig.cell(0)]

        def thread(me: int) -> Callable[[], None]:
            def body() -> None:
                flags[me].set(1)
                rig.until(lambda: not flags[1 - me].get(), flags[1 - me])
                flags[me].set(0)

            return body

        rig.run(thread(0), thread(1))
        return "done"

    return program


def bakery(threads: int, choosing: bool = True) -> Scenario:
    """Lamport's bakery. `choosing`: with the flags without which two threads can be served together."""

    @scenario
    def program(rig: Rig) -> Hashable:
        busy, numbers = [rig.cell(0) for _ in range(threads)], [rig.cell(0) for _ in range(threads)]
        inside = rig.cell(0)

        def thread(me: int) -> Callable[[], None]:
            others = [number for number in range(threads) if number != me]

            def body() -> None:
                if choosing:
                    busy[me].set(1)
                mine = 1 + max(numbers[other].get() for other in others)
                numbers[me].set(mine)
                if choosing:
                    busy[me].set(0)
                for other in others:
                    if choosing:
                        rig.until(lambda other=other: not busy[other].get(), busy[other])  # type: ignore[misc]

                    def mine_first(other: int = other) -> bool:
                        return numbers[other].get() == 0 or (mine, me) < (numbers[other].get(), other)

                    rig.until(mine_first, numbers[other])
                assert inside.update(_increment) == 1
                inside.update(_decrement)
                numbers[me].set(0)

            return body

        rig.run(*map(thread, range(threads)))
        return "done"

    return program


def ticket_lock(threads: int) -> Scenario:
    @judged
    def program(rig: Rig) -> Hashable:
        tickets, serving, cell = rig.cell(0), rig.cell(0), rig.cell(0)

        def thread() -> None:
            mine = tickets.update(_increment) - 1
            rig.until(lambda: serving.get() == mine, serving)
            cell.set(cell.get() + 1)
            serving.set(mine + 1)

        rig.run(*[thread] * threads)
        return _verdict(cell.get() == threads)

    return program


def spin_lock(threads: int) -> Scenario:
    """Wait until it is free, then try to take it; try again if another was faster, so often that one gets it."""

    @judged
    def program(rig: Rig) -> Hashable:
        owner, cell = rig.cell(0), rig.cell(0)

        def thread(me: int) -> Callable[[], None]:
            def body() -> None:
                while True:
                    rig.until(lambda: owner.get() == 0, owner)
                    if owner.update(lambda now: now or me) == me:
                        break
                cell.set(cell.get() + 1)
                owner.set(0)

            return body

        rig.run(*map(thread, range(1, threads + 1)))
        return _verdict(cell.get() == threads)

    return program


def one_slot(items: int) -> Scenario:
    """A producer and a consumer share a slot and a flag that says whether it is full."""

    @judged
    def program(rig: Rig) -> Hashable:
        slot, full, got = rig.cell(0), rig.cell(False), []

        def producer() -> None:
            for item in range(items):
                rig.until(lambda: not full.get(), full)
                slot.set(item)
                full.set(True)

        def consumer() -> None:
            for _ in range(items):
                rig.until(full.get, full)
                got.append(slot.get())
                full.set(False)

        rig.run(producer, consumer)
        return _verdict(got == [*range(items)])

    return program


def one_slot_two_producers() -> Scenario:
    """The same with two producers: both may find the slot empty."""

    @judged
    def program(rig: Rig) -> Hashable:
        slot, full, got = rig.cell(0), rig.cell(False), []

        def producer(item: int) -> Callable[[], None]:
            def body() -> None:
                rig.until(lambda: not full.get(), full)
                slot.set(item)
                full.set(True)

            return body

        def consumer() -> None:
            for _ in range(2):
                rig.until(full.get, full)
                got.append(slot.get())
                full.set(False)

        rig.run(producer(1), producer(2), consumer)
        return _verdict(sorted(got) == [1, 2])

    return program


def spin_barrier(threads: int) -> Scenario:
    """All arrive, then all see that all have."""

    @judged
    def program(rig: Rig) -> Hashable:
        arrived, seen = rig.cell(0), [0] * threads

        def thread(me: int) -> Callable[[], None]:
            def body() -> None:
                arrived.update(_increment)
                rig.until(lambda: arrived.get() == threads, arrived)
                seen[me] = arrived.get()

            return body

        rig.run(*map(thread, range(threads)))
        return _verdict(set(seen) == {threads})

    return program


def never_true() -> Scenario:
    """The flag is up for a moment; who does not look at that moment waits for ever."""

    @scenario
    def program(rig: Rig) -> Hashable:
        flag = rig.cell(0)

        def blinker() -> None:
            flag.set(1)
            flag.set(0)

        rig.run(lambda: rig.until(lambda: flag.get() == 1, flag), blinker)
        return "done"

    return program


def drain_then_clear() -> Scenario:
    """A flag for "there is work": cleared after the queue was emptied, it wipes out the news of what came meanwhile."""

    @scenario
    def program(rig: Rig) -> Hashable:
        queue, flag = rig.cell(0), rig.cell(0)

        def producer() -> None:
            for _ in range(2):
                queue.update(_increment)
                flag.set(1)

        def consumer() -> None:
            done = 0
            while done < 2:
                rig.until(lambda: flag.get() == 1, flag)
                done += queue.get()
                queue.update(lambda value: 0)
                flag.set(0)

        rig.run(producer, consumer)
        return "done"

    return program


def treiber_stack(pushers: int, pops: int) -> Scenario:
    """Pushes and pops by compare and swap, with one attempt each."""

    @scenario
    def program(rig: Rig) -> Hashable:
        top, popped = rig.cell(()), []

        def swap(old: Any, new: Any) -> bool:
            done = []

            def attempt(now: Any) -> Any:
                done.append(now == old)
                return new if now == old else now

            top.update(attempt)
            return done[0]

        def push(item: int) -> Callable[[], None]:
            def body() -> None:
                old = top.get()
                swap(old, (*old, item))

            return body

        def pop() -> None:
            old = top.get()
            if old and swap(old, old[:-1]):
                popped.append(old[-1])

        rig.run(*map(push, range(pushers)), *[pop] * pops)
        return top.get(), tuple(sorted(popped))

    return program


def work_stealing() -> Scenario:
    """A queue of two items: its owner takes from one end, a thief from the other. Without a lock, both get the last."""

    @judged
    def program(rig: Rig) -> Hashable:
        head, tail, taken = rig.cell(0), rig.cell(2), [[], []]

        def owner() -> None:
            for _ in range(2):
                last = tail.update(_decrement)
                if head.get() <= last:
                    taken[0].append(last)
                else:
                    tail.update(_increment)

        def thief() -> None:
            first = head.get()
            if first < tail.get():
                taken[1].append(first)
                head.set(first + 1)

        rig.run(owner, thief)
        both = taken[0] + taken[1]
        return _verdict(len(both) == len(set(both)))

    return program


def mixed(steps: int) -> Scenario:
    """Two threads meet in one cell, at their first steps, and then go their own ways."""

    @scenario
    def program(rig: Rig) -> Hashable:
        common, own = rig.cell(0), [rig.cell(0), rig.cell(0)]

        def thread(me: int) -> Callable[[], None]:
            def body() -> None:
                common.update(_increment)
                for _ in range(steps):
                    own[me].update(_increment)

            return body

        rig.run(thread(0), thread(1))
        return common.get()

    return program


def one_thread(steps: int) -> Scenario:
    """There is only one order."""
    return independent(steps)
