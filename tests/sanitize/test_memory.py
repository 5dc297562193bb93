"""The shadow state is bounded by what is there, not by what was done."""

from __future__ import annotations

import gc
import weakref

from cpugpu.sanitize import Event, Model, Storage, Sync, region
from cpugpu.sanitize.memory import MOST_CELLS, MOST_STRIDED


def size(model: Model, storages: list[Storage]) -> tuple[int, ...]:
    actors = list(model.actors.streams.values()) + list(model.actors.threads)
    return (
        sum(storage.cells for storage in storages),
        sum(len(actor.clock) + len(actor.heard) for actor in actors),
        len(actors),
        len(model.findings),
    )


def round_of(model: Model, storages: list[Storage], times: int) -> None:
    main = model.me()
    streams = [model.stream("cuda:0", handle) for handle in range(4)]
    event, lock = Event(), Sync()
    for number in range(times):
        stream, other = streams[number % 4], streams[(number + 1) % 4]
        one, two = storages[number % len(storages)], storages[(number + 1) % len(storages)]
        half = (number % 2 * 32, number % 2 * 32 + 32)
        model.launch(main, stream, [(one, (0, 64), True), (two, half, False)])
        if number % 10 == 0:
            model.record(main, event, stream)
            model.wait(main, event, other)
            model.release(main, lock)
            model.acquire(main, lock)
        else:
            model.synchronize_stream(main, stream)


def test_200_000_launches_over_the_same_buffers_do_not_grow_it() -> None:
    model, storages = Model(), [Storage(f"s{number}") for number in range(8)]
    round_of(model, storages, 2_000)
    before = size(model, storages)
    round_of(model, storages, 200_000)
    assert size(model, storages) == before
    assert len(model.findings) == 0


def test_threads_that_come_and_go_do_not_grow_it() -> None:
    model, x = Model(), Storage("x", host=True)
    main, stream = model.thread("main"), model.stream("cuda:0", 1)
    for _ in range(2_000):
        worker = model.thread("worker", main)
        model.launch(worker, stream, [(x, (0, 4), True)])
        model.thread_ended(worker)
        model.joined(main, worker)
    assert len(stream.clock) <= 4
    assert len(stream.heard) <= 4


def test_a_number_is_not_given_away_while_its_owner_is_unknown() -> None:
    model, x = Model(), Storage("x", host=True)
    main = model.thread("main")
    first = model.thread("first", main)
    model.host_access(first, [(x, (0, 4), True)])
    model.thread_ended(first)  # and nobody joins it
    second = model.thread("second", main)
    model.host_access(second, [(x, (0, 4), True)])
    assert [finding.rule for finding in model.findings] == ["race"]


def test_a_storage_that_is_gone_is_not_kept() -> None:
    class Mark:
        pass

    model, mark = Model(), Mark()
    main, stream, other = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    storage = Storage("x", size=4)
    model.alloc(storage, stream)
    model.launch(main, other, [(storage, (0, 4), True)])
    storage.name = mark  # type: ignore[assignment]
    gone = weakref.ref(mark)
    model.synchronize_stream(main, other)
    model.free(main, storage)
    del storage, mark
    gc.collect()
    assert gone() is None


def test_slices_make_one_range_again_when_the_whole_is_written() -> None:
    model, x = Model(), Storage("x")
    main, stream = model.thread("main"), model.stream("cuda:0", 1)
    for at in range(100):
        model.launch(main, stream, [(x, (at * 8, at * 8 + 8), True)])
    assert x.cells == 100
    model.launch(main, stream, [(x, (0, 800), True)])
    assert x.cells == 1


def test_a_storage_has_so_many_ranges_at_most() -> None:
    model, x, y = Model(), Storage("x"), Storage("y")
    main, stream, other = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    for at in range(3 * MOST_CELLS):
        model.launch(main, (stream, other)[at % 2], [(x, (at * 8, at * 8 + 8), True)])
    for columns in range(2, 500):
        found = region(0, [4, columns], [4096, 2], 4)
        assert found is not None
        model.launch(main, stream, [(y, found, False)])
    assert x.cells <= MOST_CELLS + 1
    assert y.cells <= MOST_STRIDED + 1
    assert x.forgotten > 0
    assert y.forgotten > 0
    assert len(model.findings) == 0


def test_neighbours_of_one_epoch_are_joined_before_any_is_forgotten() -> None:
    model, x = Model(), Storage("x")
    main, stream = model.thread("main"), model.stream("cuda:0", 1)
    for at in range(3 * MOST_CELLS):
        model.launch(main, stream, [(x, (at * 8, at * 8 + 8), True)])
    assert x.forgotten == 0
    model.launch(main, model.stream("cuda:0", 2), [(x, (0, 8), False)])
    assert len(model.findings) == 1


class OurEvent(Event):
    """Of this test's: those of others come and go."""


class OurSync(Sync):
    """The same."""


class OurStorage(Storage):
    """The same."""


def test_nothing_is_left_to_the_garbage_collector() -> None:
    model = Model()
    main, one, two = model.thread("main"), model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    gc.disable()
    try:
        for _ in range(100):
            event, lock, x = OurEvent(), OurSync(), OurStorage("x", size=4)
            model.alloc(x, one)
            model.launch(main, one, [(x, (0, 4), True)])
            model.record(main, event, one)
            model.wait(main, event, two)
            model.synchronize_event(main, event)
            model.release(main, lock)
            model.free(main, x)
            model.event_destroyed(main, event)
        del event, lock, x
        assert [each for each in gc.get_objects() if type(each) in (OurEvent, OurSync, OurStorage)] == []
    finally:
        gc.enable()
