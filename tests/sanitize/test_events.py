"""Which capture a wait was told of, and which one it gets."""

from __future__ import annotations

import pytest

from cpugpu.sanitize import Event, Model, Storage, Sync
from cpugpu.sanitize.events import VERSIONS


def rules(model: Model) -> list[str]:
    return [finding.rule for finding in model.findings]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("records", [2, VERSIONS, 3 * VERSIONS])
def test_a_wait_that_was_told_of_an_older_record_of_that_stream_waits_for_too_much_at_most(
    told: bool, records: int
) -> None:
    model, event, flag = Model(), Event(), Sync("flag")
    producer, consumer = model.thread("producer"), model.thread("consumer")
    one, two = model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    for number in range(records):
        model.launch(producer, one, [])
        model.record(producer, event, one)
        if told and number == 0:
            model.release(producer, flag)
    model.acquire(consumer, flag)
    model.wait(consumer, event, two)
    assert rules(model) == ([] if told else ["wait-not-ordered-after-record"])


def test_a_second_round_needs_to_be_told_again() -> None:
    model, event, flag = Model(), Event(), Sync("flag")
    producer, consumer = model.thread("producer"), model.thread("consumer")
    one, two = model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    model.record(producer, event, one)
    model.release(producer, flag)
    model.acquire(consumer, flag)
    model.wait(consumer, event, two)
    assert rules(model) == []
    model.launch(producer, one, [])
    model.record(producer, event, one)
    model.wait(consumer, event, two)  # nobody has told it of this one
    assert rules(model) == ["wait-not-ordered-after-record"]


def test_another_stream_may_wait_for_what_one_has_waited_for() -> None:
    model, event = Model(), Event()
    main = model.thread("main")
    model.record(main, event, model.stream("cuda:0", 1))
    for handle in (2, 3, 2):
        model.wait(main, event, model.stream("cuda:0", handle))
    assert rules(model) == []


def test_two_threads_that_record_and_wait_under_a_lock_are_in_order() -> None:
    model, event, lock = Model(), Event(), Sync("lock")
    producer, consumer = model.thread("producer"), model.thread("consumer")
    one, two = model.stream("cuda:0", 1), model.stream("cuda:0", 2)
    for _ in range(20):
        model.acquire(producer, lock)
        model.record(producer, event, one)
        model.release(producer, lock)
        model.acquire(consumer, lock)
        model.wait(consumer, event, two)
        model.release(consumer, lock)
    assert rules(model) == []


@pytest.mark.parametrize("done", [True, False])
def test_a_poll_that_succeeds_is_an_edge(done: bool) -> None:
    model, event, host = Model(), Event(), Storage("host", host=True)
    main, stream = model.thread("main"), model.stream("cuda:0", 1)
    model.launch(main, stream, [(host, (0, 4), True)], "copy_")
    model.record(main, event, stream)
    model.query_event(main, event, done)
    model.host_access(main, [(host, (0, 4), False)], "tolist")
    assert rules(model) == ([] if done else ["host-read-early"])


def test_what_is_put_on_a_stream_during_a_synchronize_is_not_waited_for() -> None:
    model, host = Model(), Storage("host", host=True)
    main, other, stream = model.thread("main"), model.thread("other"), model.stream("cuda:0", 1)
    bound = model.bind_stream(main, stream)
    model.launch(other, stream, [(host, (0, 4), True)], "copy_")
    model.reached(main, bound)
    model.host_access(main, [(host, (0, 4), False)], "tolist")
    assert rules(model) == ["host-read-early"]


def test_the_default_stream_and_a_blocking_one_order_each_other() -> None:
    for blocking in (True, False):
        model, x = Model(), Storage("x")
        main = model.thread("main")
        default, other = model.stream("cuda:0", 0), model.stream("cuda:0", 7, blocking=blocking)
        for stream in (default, other, default, other):
            model.launch(main, stream, [(x, (0, 4), True)])
        assert bool(rules(model)) is not blocking
