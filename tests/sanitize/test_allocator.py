"""Whose memory it is: the caching allocator's rule, and what is no offence against it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cpugpu.sanitize import Actor, Model, Storage

Between = Callable[[Model, Actor, Actor, Actor, Storage], None]


def nothing(model: Model, main: Actor, pool: Actor, user: Actor, x: Storage) -> None:
    """Between the foreign use and the free."""


def recorded(model: Model, main: Actor, pool: Actor, user: Actor, x: Storage) -> None:
    model.record_stream(x, user)


def synchronized(model: Model, main: Actor, pool: Actor, user: Actor, x: Storage) -> None:
    model.synchronize_stream(main, user)


def rules(
    before: Between = nothing, after: Between = nothing, *, size: int = 4096, its: int = 4096, uses: bool = True
) -> list[str]:
    model, x, y = Model(), Storage("x", size=size), Storage("y", size=its)
    main, pool, user = model.thread("main"), model.stream("cuda:0", 0), model.stream("cuda:0", 1)
    model.alloc(x, pool)
    model.launch(main, user, [(x, (0, size), False)], "read")
    before(model, main, pool, user, x)
    model.free(main, x)
    model.alloc(y, pool)
    after(model, main, pool, user, x)
    if uses:
        model.launch(main, pool, [(y, (0, its), True)], "fill")
    return [finding.rule for finding in model.findings]


def test_memory_that_another_stream_may_still_use_is_found_once() -> None:
    assert rules() == ["foreign-use"]


@pytest.mark.parametrize("way", [recorded, synchronized])
def test_record_stream_or_a_wait_before_the_free_is_enough(way: Between) -> None:
    assert rules(way) == []


def test_a_wait_before_the_first_use_is_enough() -> None:
    assert rules(after=synchronized) == []


def test_memory_that_nobody_uses_again_is_no_matter() -> None:
    assert rules(uses=False) == []


@pytest.mark.parametrize(("size", "its"), [(512, 1024), (1 << 21, 512)])
def test_a_block_that_the_tensor_cannot_get_is_no_matter(size: int, its: int) -> None:
    assert rules(size=size, its=its) == []


def test_a_free_in_a_thread_that_knows_is_enough_for_all() -> None:
    model, x, y = Model(), Storage("x", size=512), Storage("y", size=512)
    main, other = model.thread("main"), model.thread("other")
    pool, user = model.stream("cuda:0", 0), model.stream("cuda:0", 1)
    model.alloc(x, pool)
    model.launch(main, user, [(x, (0, 512), False)])
    model.synchronize_stream(main, user)
    model.free(main, x)
    model.alloc(y, pool)
    model.launch(other, pool, [(y, (0, 512), True)])
    assert len(model.findings) == 0
