"""On which device a thread is: one that is started from the second device chooses its own."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.errors import SanitizerError  # noqa: E402
from cpugpu.sanitize import watching  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402
from tests.threads import in_thread  # noqa: E402

WRONG = {"device-not-set"}

needs_two = pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason=f"needs two GPUs, torch.cuda.device_count() is {torch.cuda.device_count()}"
)


@pytest.fixture(params=["simulated", pytest.param("real", marks=needs_two)])
def two_devices(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "simulated":
        with simulate(devices=2):
            yield
    else:
        torch.cuda.init()
        yield
        torch.cuda.set_device(0)


def started_on(index: int, function: Callable[[], object], start: Callable[..., Any] = in_thread) -> set[str]:
    """The rules that are broken by a thread that is started there."""
    with watching() as session:
        torch.cuda.set_device(index)
        with start(function) as running:
            running.join()
        torch.cuda.set_device(0)
    return {finding.rule for finding in session.model.findings}


def with_torch_device() -> None:
    with torch.device("cuda"):
        torch.ones(4)


MAKES = {
    "ones": lambda: torch.ones(4, device="cuda"),
    "empty": lambda: torch.empty(4, device=torch.device("cuda")),
    "tensor": lambda: torch.tensor([1.0], device="cuda"),
    "as_tensor": lambda: torch.as_tensor([1.0], device="cuda"),
    "like": lambda: torch.ones_like(torch.ones(4), device="cuda"),
    "new": lambda: torch.ones(4).new_zeros(4, device="cuda"),
    "cuda": lambda: torch.ones(4).cuda(),
    "to": lambda: torch.ones(4).to("cuda"),
    "to_by_name": lambda: torch.ones(4).to(device="cuda"),
    "module": lambda: torch.nn.Linear(4, 4).to("cuda"),
    "module_cuda": lambda: torch.nn.Linear(4, 4).cuda(),
    "module_made_there": lambda: torch.nn.Linear(4, 4, device="cuda"),
    "default_device": with_torch_device,
    "stream": lambda: torch.cuda.Stream(priority=0),
    "stream_by_name": lambda: torch.cuda.Stream("cuda"),
    "generic_stream": lambda: torch.Stream("cuda"),
}
NAMES_IT = {
    "ones": lambda: torch.ones(4, device="cuda:0"),
    "tensor": lambda: torch.tensor([1.0], device="cuda:1"),
    "cuda": lambda: torch.ones(4).cuda(0),
    "to": lambda: torch.ones(4).to("cuda:0"),
    "like": lambda: torch.ones_like(torch.ones(4, device="cuda:0")),
    "host": lambda: torch.ones(4).to("cpu"),
    "stream": lambda: torch.cuda.Stream("cuda:0"),
    "stream_by_number": lambda: torch.cuda.Stream(1),
    "current_stream": lambda: torch.cuda.current_stream(None),
    "is_there": lambda: torch.ones(4, device="cuda:0").to("cuda").cuda(),
    "back": lambda: torch.ones(4, device="cuda:0").cpu(),
}


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("name", MAKES)
def test_what_is_made_where_the_thread_happens_to_be(name: str) -> None:
    assert started_on(1, MAKES[name]) == WRONG
    assert started_on(0, MAKES[name]) == set()


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("name", NAMES_IT)
def test_who_names_a_device_is_right(name: str) -> None:
    assert started_on(1, NAMES_IT[name]) == set()


def by_set_device(make: Callable[[], Any]) -> None:
    torch.cuda.set_device(0)
    make()


def by_the_accelerator(make: Callable[[], Any]) -> None:
    torch.accelerator.set_device_index(1)
    make()


def by_a_block(make: Callable[[], Any]) -> None:
    with torch.cuda.device(0):
        make()


def by_a_block_of_the_accelerator(make: Callable[[], Any]) -> None:
    with torch.accelerator.device_index(0):
        make()


def by_a_stream_of_the_first(make: Callable[[], Any]) -> None:
    with torch.cuda.stream(torch.cuda.Stream("cuda:0")):
        make()


def by_a_stream_of_the_second(make: Callable[[], Any]) -> None:
    with torch.cuda.stream(torch.cuda.Stream("cuda:1")):
        make()


def by_its_default_stream(make: Callable[[], Any]) -> None:
    with torch.cuda.stream(torch.cuda.default_stream("cuda:0")):
        make()


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize(
    "choose",
    [
        by_set_device,
        by_the_accelerator,
        by_a_block,
        by_a_block_of_the_accelerator,
        by_a_stream_of_the_first,
        by_a_stream_of_the_second,
        by_its_default_stream,
    ],
)
@pytest.mark.parametrize("name", ["ones", "to", "stream"])
def test_who_chooses_one_is_right(choose: Callable[[Callable[[], Any]], None], name: str) -> None:
    assert started_on(1, lambda: choose(MAKES[name])) == set()


@pytest.mark.usefixtures("two_devices")
def test_after_a_block_the_thread_is_where_it_was() -> None:
    def blocks() -> None:
        with torch.cuda.device(1), torch.cuda.device(0):
            torch.ones(4, device="cuda")
        torch.ones(4, device="cuda")

    with watching() as session:
        torch.cuda.set_device(1)
        with in_thread(blocks):
            pass
    (finding,) = session.model.findings
    assert finding.count == 1
    assert finding.first.place.function.endswith("blocks")
    assert finding.second is not None
    assert finding.second.place.function.endswith("__enter__")  # of `in_thread`, which starts it
    assert "is on cuda:0, where threads begin, and was started from MainThread, which was on cuda:1" in finding.missing


class InPool:
    """In a thread of a pool's, which is started when it is given its first task."""

    def __init__(self, function: Callable[[], object]) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(function).result()

    def __enter__(self) -> InPool:
        return self

    def join(self) -> None:
        """It is over, without an error."""

    def __exit__(self, *exc_info: object) -> None: ...


class Bare(InPool):
    """In a thread without an object."""

    def __init__(self, function: Callable[[], object]) -> None:
        done = threading.Semaphore(0)

        def work() -> None:
            function()
            done.release()

        _thread.start_new_thread(work, ())
        done.acquire()


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("start", [InPool, Bare])
def test_however_the_thread_is_started(start: type) -> None:
    assert started_on(1, MAKES["ones"], start) == WRONG
    assert started_on(1, NAMES_IT["ones"], start) == set()


@pytest.mark.usefixtures("two_devices")
def test_a_thread_that_has_not_chosen_starts_another() -> None:
    def starts() -> None:
        with in_thread(MAKES["ones"]) as thread:
            thread.join()

    assert started_on(1, starts) == WRONG


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("first", [0, 1])
def test_a_task_is_where_it_was_given_not_where_its_thread_was_started(first: int) -> None:
    with watching() as session, ThreadPoolExecutor(1) as pool:
        torch.cuda.set_device(1)
        pool.submit(int).result()  # starts the thread
        torch.cuda.set_device(first)
        pool.submit(MAKES["ones"]).result()
        torch.cuda.set_device(0)
    assert {finding.rule for finding in session.model.findings} == (WRONG if first else set())


@pytest.mark.usefixtures("two_devices")
def test_a_pool_may_choose_for_its_threads() -> None:
    def begin() -> None:
        torch.cuda.set_device(0)

    with watching() as session:
        torch.cuda.set_device(1)
        with ThreadPoolExecutor(1, initializer=begin) as pool:
            for _ in range(2):
                pool.submit(MAKES["ones"]).result()
        torch.cuda.set_device(0)
    assert not session.model.findings


@pytest.mark.usefixtures("two_devices")
def test_the_thread_may_have_it_raised() -> None:
    caught: list[BaseException] = []

    def make() -> None:
        try:
            torch.ones(4, device="cuda")
        except SanitizerError as error:
            caught.append(error)

    with watching("raise"):
        torch.cuda.set_device(1)
        with in_thread(make):
            pass
        torch.cuda.set_device(0)
    assert [type(each) for each in caught] == [SanitizerError]


def test_with_one_device_nothing_is_put_in_place() -> None:
    with simulate(), watching():
        assert not hasattr(torch.cuda.set_device, "__wrapped__")
    with simulate(devices=2), watching():
        assert hasattr(torch.cuda.set_device, "__wrapped__")
