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

What a step is, and when two conflict, is said in `tests.small.oracle`, whose figures these are. A run ends when a
thread raises. Where that leaves others with steps that they could take, how many such cut runs make a trace is a matter
of definition: `traces` and `failing_traces` are None, `passing_traces` holds, and `failing` says whether any must be
found. `bounded` is None where it is not known.

Figures of up to 60,000 interleavings have been computed in two ways: by executing every one of them
(`oracle.interleavings`), and as paths in the graph of trace prefixes (`oracle.measure`). Larger ones were computed in
the second way only, and `readers8` by its closed form. Closed forms are in `tests/small/test_oracle.py`. To count a
program again: `python -m tests.small.programs NAME`.

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
                    while table[slot].update(lambda found, word=word: found or word) != word:
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
                rig.until(lambda number=number: len(woken.get()) == number, woken)

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
                        rig.until(lambda other=other: not busy[other].get(), busy[other])

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


# -- programs that nobody has thought of ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shared:
    cells: Sequence[Cell[int]]
    locks: Sequence[Any]
    semaphores: Sequence[Any]
    conditions: Sequence[Any]  # each with the lock of its number
    rig: Rig


#: A statement: for people, and what it does with the shared things and the thread's one variable, which it returns.
_Statement = tuple[str, Callable[[_Shared, int], int]]


def _block(statements: Sequence[_Statement]) -> _Statement:
    def body(shared: _Shared, value: int) -> int:
        for _, do in statements:
            value = do(shared, value)
        return value

    return "; ".join(text for text, _ in statements), body


class _Author:
    """Writes random statements over so many cells, locks, semaphores and conditions."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.cells = draw.randint(1, 3)
        self.locks = draw.choice([0, 1, 1, 2])
        self.semaphores = draw.choice([0, 0, 1])
        self.conditions = min(self.locks, draw.choice([0, 1]))
        self.cell_statements = [self.read, self.write, self.write, self.add, self.branch]
        self.statements = [*self.cell_statements]
        if draw.random() < 0.3:
            self.statements.append(self.wait_for_cell)
        if draw.random() < 0.3:
            self.statements.append(self.check)
        if self.locks:
            self.statements += [self.locked, self.locked, self.locked, self.tried]
        if self.semaphores:
            self.statements += [self.acquire, self.release, self.release, self.try_acquire]
        if self.conditions:
            self.statements += [self.wait, self.notify, self.notify]

    def thread(self, length: int) -> _Statement:
        return _block([self.draw.choice(self.statements)() for _ in range(length)])

    def inner(self) -> _Statement:
        """What is done under a lock or a condition: now and then with a lock again."""
        kinds = self.statements if self.draw.random() < 0.25 else self.cell_statements
        return _block([self.draw.choice(kinds)() for _ in range(self.draw.choice([1, 1, 2]))])

    def cell(self) -> int:
        return self.draw.randrange(self.cells)

    def read(self) -> _Statement:
        cell = self.cell()
        return f"x = c{cell}", lambda shared, value: shared.cells[cell].get()

    def write(self) -> _Statement:
        cell, fresh, number = self.cell(), self.draw.random() < 0.5, self.draw.randint(0, 2)

        def do(shared: _Shared, value: int) -> int:
            shared.cells[cell].set(number if fresh else value + 1)
            return value

        return f"c{cell} = {number if fresh else 'x + 1'}", do

    def add(self) -> _Statement:
        cell = self.cell()
        return f"x = c{cell} += 1", lambda shared, value: shared.cells[cell].update(_increment)

    def branch(self) -> _Statement:
        cell, (text, body) = self.cell(), self.draw.choice([self.read, self.write, self.add])()

        def do(shared: _Shared, value: int) -> int:
            return value if shared.cells[cell].get() % 2 else body(shared, value)

        return f"if c{cell} is even: ({text})", do

    def wait_for_cell(self) -> _Statement:
        cell, least = self.cell(), self.draw.randint(1, 2)

        def do(shared: _Shared, value: int) -> int:
            shared.rig.until(lambda: shared.cells[cell].get() >= least, shared.cells[cell])
            return value

        return f"until c{cell} >= {least}", do

    def check(self) -> _Statement:
        cell, wrong = self.cell(), self.draw.randint(1, 3)

        def do(shared: _Shared, value: int) -> int:
            assert shared.cells[cell].get() != wrong
            return value

        return f"assert c{cell} != {wrong}", do

    def locked(self) -> _Statement:
        lock, (text, body) = self.draw.randrange(self.locks), self.inner()

        def do(shared: _Shared, value: int) -> int:
            shared.locks[lock].acquire()
            value = body(shared, value)
            shared.locks[lock].release()
            return value

        return f"lock l{lock}: ({text})", do

    def tried(self) -> _Statement:
        lock, (text, body), (instead, other) = self.draw.randrange(self.locks), self.inner(), self.write()

        def do(shared: _Shared, value: int) -> int:
            if not shared.locks[lock].acquire(False):
                return other(shared, value)
            value = body(shared, value)
            shared.locks[lock].release()
            return value

        return f"try l{lock}: ({text}) else: ({instead})", do

    def acquire(self) -> _Statement:
        def do(shared: _Shared, value: int) -> int:
            shared.semaphores[0].acquire()
            return value

        return "acquire s", do

    def release(self) -> _Statement:
        def do(shared: _Shared, value: int) -> int:
            shared.semaphores[0].release()
            return value

        return "release s", do

    def try_acquire(self) -> _Statement:
        return "x = try s", lambda shared, value: int(shared.semaphores[0].acquire(blocking=False))

    def wait(self) -> _Statement:
        cell = self.cell()

        def do(shared: _Shared, value: int) -> int:
            shared.conditions[0].acquire()
            if not shared.cells[cell].get():
                shared.conditions[0].wait()
            shared.conditions[0].release()
            return value

        return f"with v: (if not c{cell}: wait)", do

    def notify(self) -> _Statement:
        cell, everybody = self.cell(), self.draw.random() < 0.5

        def do(shared: _Shared, value: int) -> int:
            shared.conditions[0].acquire()
            shared.cells[cell].set(1)
            if everybody:
                shared.conditions[0].notify_all()
            else:
                shared.conditions[0].notify()
            shared.conditions[0].release()
            return value

        return f"with v: (c{cell} = 1; notify {'all' if everybody else 'one'})", do


def _random_scenario(draw: random.Random) -> Scenario:
    author = _Author(draw)
    longest = {2: 5, 3: 3, 4: 2}
    count = draw.choice([2, 2, 3, 3, 4])
    bodies = [author.thread(draw.randint(2, longest[count])) for _ in range(count)]
    permits = draw.choice([0, 1, 1, 2])

    @scenario
    def program(rig: Rig) -> Hashable:
        locks = [threading.Lock() for _ in range(author.locks)]
        shared = _Shared(
            [rig.cell(0) for _ in range(author.cells)],
            locks,
            [threading.Semaphore(permits) for _ in range(author.semaphores)],
            [threading.Condition(lock) for lock in locks[: author.conditions]],
            rig,
        )
        left = [0] * count

        def thread(me: int) -> Callable[[], None]:
            def body() -> None:
                left[me] = bodies[me][1](shared, 0)

            return body

        rig.run(*map(thread, range(count)))
        return (*left, *(cell.get() for cell in shared.cells))

    program.function.__doc__ = "\n".join(
        [
            *(f"thread {number}: {text}" for number, (text, _) in enumerate(bodies)),
            f"x and the cells are 0 at first, s is {permits}, v belongs to l0; outcome: each x, each cell",
        ]
    )
    return program


def random_program(seed: int) -> Program:
    """A program of two to four threads, the same one for the same seed. Its text: `scenario.function.__doc__`.

    It has from 2 to `LARGEST` interleavings. Many fail: assertions, deadlocks, sleepers that nobody wakes. In half of
    the programs the rarest outcome is forbidden.
    """
    draw = random.Random(seed)
    while True:
        drawn = _random_scenario(draw)
        picky, hopeless = draw.random() < 0.5, draw.random() < 0.1
        try:
            figures = measure(drawn, limit=600)
        except TooLarge:
            continue
        if not 2 <= figures.interleavings <= LARGEST or (figures.failing == figures.interleavings and not hopeless):
            continue
        if picky and len(figures.outcomes) > 1:
            rarest = min(figures.outcomes, key=lambda outcome: (figures.outcomes[outcome], repr(outcome)))
            drawn = replace(drawn, forbid={rarest: "the rarest outcome"})
            figures = measure(drawn)
        return _program(f"random{seed}", drawn, figures)


# -- all of them ------------------------------------------------------------------------------------------------------


def _program(name: str, scenario: Scenario, figures: Figures) -> Program:
    return Program(
        name=name,
        scenario=replace(scenario, name=name),
        interleavings=figures.interleavings,
        failing=figures.failing,
        traces=figures.traces,
        failing_traces=figures.failing_traces,
        passing_traces=figures.passing_traces,
        preemptions=figures.preemptions,
        bounded=figures.bounded,
    )


def _row(name: str, scenario: Scenario, *figures: Any) -> Program:
    """In the order of `Program`."""
    return Program(name, replace(scenario, name=name), *figures)


# fmt: off
#: The programs that others have counted as well, independently.
TABLE = [
    _row("cta2", check_then_act(2), 16, 12, 6, 4, 2, 1, (2, 6, 10)),
    _row("cta3", check_then_act(3), 702, 684, 63, 60, 3, 1, (6, 30, 84)),
    _row("cta2_locked", check_then_act_locked(2), 2, 0, 2, 0, 2, None, (2, 2, 2)),
    _row("lost_update2", lost_update(2), 6, 4, 4, 2, 2, 1, (2, 4, 6)),
    _row("account_bad", account_bad(), 6, 2, 6, 2, 4, 0, (6, 6, 6)),
    _row("abba", abba(), 6, 2, 3, 1, 2, 1, (2, 6, 6)),
    _row("philosophers3", philosophers(3), 168, 6, 7, 1, 6, 1, (6, 57, 129)),
    _row("twostage", two_stage(), 37, 1, None, None, 2, 1, (2, 6, 15)),
    _row("lost_wakeup", lost_wakeup(), 8, 1, 3, 1, 2, 1, (2, 7, 8)),
    _row("lost_wakeup_ok", lost_wakeup_ok(), 2, 0, 2, 0, 2, None, (2, 2, 2)),
    _row("peterson", peterson(), 26, 0, 4, 0, 4, None, (2, 12, 20)),
    _row("readers2", readers(2), 30, 0, 4, 0, 4, None, (6, 18, 30)),
    _row("readers3", readers(3), 630, 0, 8, 0, 8, None, (24, 132, 384)),
    _row("lastzero3", last_zero(3), 920, 0, 12, 0, 12, None, (24, 142, 451)),
    _row("uneven", uneven(25), 26, 1, 26, 1, 25, 0, (2, 26, 26)),
]

#: More of them, by families, in the order of the functions above.
MORE = [
    _row("one_thread", independent(5), 1, 0, 1, 0, 1, None, (1, 1, 1)),
    _row("two_steps", independent(1, 1), 2, 0, 1, 0, 1, None, (2, 2, 2)),
    _row("independent3x3", independent(3, 3, 3), 1680, 0, 1, 0, 1, None, (6, 42, 192)),
    _row("independent_1_2_4", independent(1, 2, 4), 105, 0, 1, 0, 1, None, (6, 30, 72)),
    _row("independent2x10", independent(10, 10), 184756, 0, 1, 0, 1, None, (2, 20, 182)),
    _row("independent6x2", independent(*[2] * 6), 7484400, 0, 1, 0, 1, None, (720, 11520, 97920)),
    _row("independent6x3", independent(*[3] * 6), 137225088000, 0, 1, 0, 1, None, (720, 22320, 382320)),
    _row("independent8x1", independent(*[1] * 8), 40320, 0, 1, 0, 1, None, (40320, 40320, 40320)),
    _row("only_readers6", only_readers(6), 720, 0, 1, 0, 1, None, (720, 720, 720)),
    _row("lost_update3", lost_update(3), 90, 84, 36, 30, 6, 1, (6, 24, 60)),
    _row("lost_update2x2", lost_update(2, 2), 70, 64, 34, 28, 6, 1, (2, 8, 26)),
    _row("lost_update4", lost_update(4), 2520, 2496, 576, 552, 24, 1, (24, 168, 672)),
    _row("updates6", updates(6), 720, 0, 720, 0, 720, None, (720, 720, 720)),
    _row("updates2x3", updates(2, 3), 20, 0, 20, 0, 20, None, (2, 6, 14)),
    _row("updates3x2", updates(3, 2), 90, 0, 90, 0, 90, None, (6, 24, 60)),
    _row("cta3_locked", check_then_act_locked(3), 6, 0, 6, 0, 6, None, (6, 6, 6)),
    _row("readers1", readers(1), 3, 0, 2, 0, 2, None, (2, 3, 3)),
    _row("readers4", readers(4), 22680, 0, 16, 0, 16, None, (120, 1080, 5040)),
    _row("readers5", readers(5), 1247400, 0, 32, 0, 32, None, (720, 9720, 67320)),
    _row("readers6", readers(6), 97297200, 0, 64, 0, 64, None, (5040, 95760, 927360)),
    _row("readers8", readers(8), 1389404016000, 0, 256, 0, 256, None, None),
    _row("writers3", writers(3), 60, 0, 24, 0, 24, None, (24, 60, 60)),
    _row("writers5", writers(5), 2520, 0, 720, 0, 720, None, (720, 2520, 2520)),
    _row("lastzero2", last_zero(2), 35, 0, 5, 0, 5, None, (6, 19, 34)),
    _row("lastzero4", last_zero(4), 44300, 0, 28, 0, 28, None, (120, 1166, 5940)),
    _row("lastzero5", last_zero(5), 3487880, 0, 64, 0, 64, None, (720, 10476, 78872)),
    _row("fibonacci1", fibonacci(1), 20, 8, 3, 2, 1, 0, (2, 6, 14)),
    _row("fibonacci2", fibonacci(2), 924, 86, 19, 2, 17, 2, (2, 12, 62)),
    _row("fibonacci3", fibonacci(3), 48620, 938, 141, 2, 139, 4, (2, 18, 146)),
    _row("message_passing", message_passing(), 6, 0, 3, 0, 3, None, (2, 4, 6)),
    _row("message_passing_bad", message_passing(ordered=False), 6, 1, 4, 1, 3, 1, (2, 4, 6)),
    _row("store_buffering", store_buffering(), 6, 0, 3, 0, 3, None, (2, 4, 6)),
    _row("iriw", independent_reads_of_independent_writes(), 180, 0, 15, 0, 15, None, (24, 96, 180)),
    _row("reorder2", reorder(2), 82, 20, None, None, 20, 1, (6, 22, 54)),
    _row("reorder3", reorder(3), 2124, 288, None, None, 360, 1, (24, 150, 570)),
    _row("midway", midway(), 11, 4, None, None, 5, 1, (2, 7, 11)),
    _row("always_fails", always_fails(), 4, 4, None, None, 0, 0, (2, 4, 4)),
    _row("mixed10", mixed(10), 705432, 0, 2, 0, 2, None, (2, 22, 222)),
    _row("counter2x2", locked_counter(2, 2), 6, 0, 6, 0, 6, None, (2, 4, 6)),
    _row("counter3", locked_counter(3), 6, 0, 6, 0, 6, None, (6, 6, 6)),
    _row("counter4", locked_counter(4), 24, 0, 24, 0, 24, None, (24, 24, 24)),
    _row("counter5", locked_counter(5), 120, 0, 120, 0, 120, None, (120, 120, 120)),
    _row("own_locks4", own_locks(4), 369600, 0, 1, 0, 1, None, (24, 312, 2424)),
    _row("lock_orders_2", lock_orders("abc", "abc"), 10, 0, 2, 0, 2, None, (2, 6, 10)),
    _row("lock_orders_reversed", lock_orders("abc", "cba"), 8, 6, 4, 2, 2, 1, (2, 6, 8)),
    _row("lock_orders_ring", lock_orders("ab", "bc", "ca"), 396, 6, 7, 1, 6, 1, (6, 42, 117)),
    _row("lock_orders_gate", lock_orders("gab", "gba"), 6, 0, 2, 0, 2, None, (2, 6, 6)),
    _row("philosophers2", philosophers(2), 6, 2, 3, 1, 2, 1, (2, 6, 6)),
    _row("philosophers4", philosophers(4), 98184, 24, 15, 1, 14, 1, (24, 512, 3116)),
    _row("philosophers5", philosophers(5), 66468720, 120, 31, 1, 30, 1, (120, 4820, 64705)),
    _row("philosophers3_ordered", philosophers(3, ordered=True), 142, 0, 6, 0, 6, None, (6, 31, 74)),
    _row("philosophers4_ordered", philosophers(4, ordered=True), 64000, 0, 14, 0, 14, None, (24, 338, 1945)),
    _row("wrong_lock2", wrong_lock(2), 990, 600, 18, 12, 6, 1, (6, 36, 150)),
    _row("wrong_lock3", wrong_lock(3), 10920, 7440, 96, 72, 24, 1, (24, 186, 906)),
    _row("lazy01", lazy01(), 6, 2, 6, 2, 4, 0, (6, 6, 6)),
    _row("nested_locks2", nested_locks(2), 8, 0, 2, 0, 2, None, (2, 6, 8)),
    _row("nested_locks3", nested_locks(3), 36, 0, 6, 0, 6, None, (6, 22, 34)),
    _row("hand_over_hand3", hand_over_hand(3), 3432, 0, 2, 0, 2, None, (2, 16, 92)),
    _row("double_checked", double_checked(), 72, 0, 4, 0, 4, None, (2, 16, 32)),
    _row("double_checked_bad", double_checked(published_early=True), 70, 2, None, None, 4, 1, (2, 16, 32)),
    _row("try_lock2", try_lock(2), 12, 0, 4, 0, 4, None, (2, 6, 10)),
    _row("try_lock3", try_lock(3), 300, 0, 30, 0, 30, None, (6, 42, 120)),
    _row("try_lock4", try_lock(4), 13056, 0, 384, 0, 384, None, (24, 312, 1464)),
    _row("try_lock_abba", try_lock_abba(), 20, 8, 7, 1, 6, 2, (2, 6, 14)),
    _row("handed_over_lock", handed_over_lock(), 1, 0, 1, 0, 1, None, (1, 1, 1)),
    _row("string_buffer", string_buffer(), 3, 1, 3, 1, 2, 1, (2, 3, 3)),
    _row("bluetooth", bluetooth(), 13394, 872, None, None, 108, 1, (6, 70, 292)),
    _row("file_system2", file_system(2, 1, 2), 2, 0, 2, 0, 2, None, (2, 2, 2)),
    _row("file_system3", file_system(3, 2, 2), 57738, 0, 4, 0, 4, None, (6, 72, 446)),
    _row("file_system4", file_system(4, 2, 4), 2821728, 0, 4, 0, 4, None, (24, 312, 2544)),
    _row("indexer2", indexer(2, 2, 5), 8, 0, 2, 0, 2, None, (2, 4, 7)),
    _row("indexer3", indexer(3, 1, 3), 6, 0, 1, 0, 1, None, (6, 6, 6)),
    _row("bounded_buffer1", bounded_buffer(1, 2, 1), 1, 0, 1, 0, 1, None, (1, 1, 1)),
    _row("bounded_buffer1x3", bounded_buffer(1, 3, 2), 5476, 0, 16, 0, 16, None, (1, 13, 79)),
    _row("bounded_buffer2", bounded_buffer(2, 1, 1), 2, 0, 2, 0, 2, None, (2, 2, 2)),
    _row("bounded_buffer3", bounded_buffer(3, 1, 2), 514968, 0, 438, 0, 438, None, (18, 474, 3774)),
    _row("several_releasers3", several_releasers(3), 36, 0, 18, 0, 18, None, (18, 36, 36)),
    _row("several_releasers2x2", several_releasers(2, acquirers=2), 28, 0, 16, 0, 16, None, (8, 20, 28)),
    _row("too_few_releasers", several_releasers(1, acquirers=2), 2, 2, 2, 2, 0, 0, (2, 2, 2)),
    _row("semaphore1of3", semaphore_of(1, 3), 6, 0, 6, 0, 6, None, (6, 6, 6)),
    _row("semaphore2of3", semaphore_of(2, 3), 2550, 0, 510, 0, 510, None, (6, 60, 294)),
    _row("semaphore_try", semaphore_try(), 48, 0, 12, 0, 12, None, (6, 24, 48)),
    _row("never_released2", never_released(2), 2, 2, 1, 1, 0, 0, (2, 2, 2)),
    _row("semaphore_pair", semaphore_pair(), 1, 0, 1, 0, 1, None, (1, 1, 1)),
    _row("readers_writer1", readers_writer(1), 20, 0, 2, 0, 2, None, (2, 8, 17)),
    _row("readers_writer2", readers_writer(2), 1110, 0, 14, 0, 14, None, (6, 38, 136)),
    _row("waiters1", waiters(1, "one"), 2, 0, 2, 0, 2, None, (2, 2, 2)),
    _row("waiters2_one", waiters(2, "one"), 8, 2, 8, 2, 6, 0, (8, 8, 8)),
    _row("waiters2_all", waiters(2, "all"), 10, 0, 10, 0, 10, None, (10, 10, 10)),
    _row("waiters2_each", waiters(2, "each"), 10, 0, 10, 0, 10, None, (10, 10, 10)),
    _row("waiters3_all", waiters(3, "all"), 96, 0, 96, 0, 96, None, (96, 96, 96)),
    _row("first_in_first_out", first_in_first_out(), 16, 0, 2, 0, 2, None, (2, 8, 14)),
    _row("stolen_wakeup", stolen_wakeup(), 24, 2, 24, 2, 22, 1, (10, 24, 24)),
    _row("one_condition1", one_condition_for_both(1, 1), 2, 0, 2, 0, 2, None, (2, 2, 2)),
    _row("one_condition2", one_condition_for_both(2, 2), 30, 2, 30, 2, 28, 0, (14, 30, 30)),
    _row("condition_barrier2", condition_barrier(2), 2, 0, 2, 0, 2, None, (2, 2, 2)),
    _row("condition_barrier3", condition_barrier(3), 12, 0, 12, 0, 12, None, (12, 12, 12)),
    _row("never_notified", never_notified(), 4, 4, 2, 2, 0, 0, (2, 4, 4)),
    _row("peterson_swapped", peterson(swapped=True), 114, 8, None, None, 12, 2, (2, 12, 30)),
    _row("dekker", dekker(), 205, 0, 8, 0, 8, None, (2, 12, 41)),
    _row("flag_mutex", flag_mutex(), 142, 72, 8, 4, 4, 2, (2, 4, 12)),
    _row("flags_first", flags_first(), 6, 2, 3, 1, 2, 1, (2, 6, 6)),
    _row("bakery2", bakery(2), 672, 0, 9, 0, 9, None, (2, 18, 88)),
    _row("bakery2_bad", bakery(2, choosing=False), 114, 8, None, None, 11, 2, (2, 12, 30)),
    _row("ticket_lock2", ticket_lock(2), 10, 0, 2, 0, 2, None, (2, 10, 10)),
    _row("ticket_lock3", ticket_lock(3), 210, 0, 6, 0, 6, None, (6, 102, 210)),
    _row("spin_lock2", spin_lock(2), 18, 0, 6, 0, 6, None, (2, 4, 12)),
    _row("spin_lock3", spin_lock(3), 5814, 0, 162, 0, 162, None, (6, 24, 132)),
    _row("one_slot3", one_slot(3), 1, 0, 1, 0, 1, None, (1, 1, 1)),
    _row("one_slot_two_producers", one_slot_two_producers(), 110, 96, 18, 14, 4, 1, (2, 10, 36)),
    _row("spin_barrier2", spin_barrier(2), 12, 0, 2, 0, 2, None, (2, 6, 10)),
    _row("spin_barrier3", spin_barrier(3), 540, 0, 6, 0, 6, None, (12, 72, 216)),
    _row("never_true", never_true(), 2, 1, 2, 1, 1, 0, (1, 2, 2)),
    _row("drain_then_clear", drain_then_clear(), 15, 4, 7, 3, 4, 2, (1, 3, 9)),
    _row("treiber_stack2", treiber_stack(2, 1), 40, 0, 18, 0, 18, None, (6, 20, 38)),
    _row("treiber_stack3", treiber_stack(2, 2), 452, 0, 132, 0, 132, None, (24, 120, 304)),
    _row("work_stealing", work_stealing(), 31, 6, 7, 2, 5, 1, (2, 7, 18)),
]

PROGRAMS: list[Program] = [*TABLE, *MORE]
# fmt: on


if __name__ == "__main__":
    for wanted in PROGRAMS:
        if wanted.name in sys.argv[1:]:
            counted = _program(wanted.name, wanted.scenario, measure(wanted.scenario))
            print(counted, "as in the table" if counted == wanted else f"the table says {wanted}", sep="\n")
