"""CUDA graphs through `torch.cuda`, in unmodified PyTorch on the simulated GPU."""

from __future__ import annotations

import copy
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from cpugpu import explore, scenario
from cpugpu.errors import SimulationError, SimulationOver
from cpugpu.explore import VerdictKind
from cpugpu.simulate import simulate
from tests.threads import in_thread

INVALIDATED = "operation failed due to a previous error during capture"
UNSUPPORTED = "operation not permitted when stream is capturing"


@pytest.fixture
def simulated() -> Iterator[Any]:
    with simulate(seed=1) as runtime:
        yield runtime


def captured(work: Callable[[], Any], **options: Any) -> tuple[Any, Any]:
    """A graph of what `work` enqueues, and what that returned."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, **options):
        result = work()
    return graph, result


# -- replay


def test_a_replay_reads_the_static_inputs_as_they_are_then(simulated: Any) -> None:
    x = torch.zeros(4, device="cuda")
    graph, y = captured(lambda: torch.relu(x * 2 + 1))
    for value in (1, 2, 3):
        x.fill_(value)
        graph.replay()
        assert y.tolist() == [2 * value + 1] * 4


def test_a_capture_runs_nothing(simulated: Any) -> None:
    x = torch.zeros(4, device="cuda")
    graph, _ = captured(lambda: x.add_(1))
    assert x.tolist() == [0] * 4
    graph.replay()
    graph.replay()
    assert x.tolist() == [2] * 4


def test_a_replay_is_ordered_with_the_stream_it_is_on() -> None:
    for seed in range(10):
        with simulate(seed=seed):
            x, side = torch.zeros(4, device="cuda"), torch.cuda.Stream()
            graph, y = captured(lambda x=x: x + 1)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                x.fill_(1)
                graph.replay()
                z = y * 10
            side.synchronize()
            assert z.tolist() == [20] * 4


def branches(join_first: bool, values: Sequence[float] = (1.0, 2.0, 3.0)) -> list[float]:
    """A side stream computes in the graph; what uses it is behind the join, or, which is wrong, before it."""
    x = torch.zeros(4, device="cuda")
    side = torch.cuda.Stream()

    def work() -> Any:
        origin = torch.cuda.current_stream()
        side.wait_stream(origin)
        with torch.cuda.stream(side):
            y = x * 2
        if join_first:
            origin.wait_stream(side)
        z = y + 1
        if not join_first:
            origin.wait_stream(side)
        return y, z

    graph, (_, z) = captured(work)
    results = []
    for value in values:
        x.fill_(value)
        graph.replay()
        results.append(z[0].item())
    return results


def results_of_seeds(function: Callable[[], Any], seeds: int) -> list[Any]:
    results = []
    for seed in range(seeds):
        with simulate(seed=seed):
            results.append(function())
    return results


def test_a_side_stream_in_a_graph_is_right_with_the_join() -> None:
    assert results_of_seeds(lambda: branches(True), 20) == [[3, 5, 7]] * 20


def test_a_side_stream_in_a_graph_is_wrong_for_some_seed_where_the_join_comes_too_late() -> None:
    assert any(result != [3, 5, 7] for result in results_of_seeds(lambda: branches(False), 20))


def test_a_side_stream_that_is_not_joined_is_refused(simulated: Any) -> None:
    x, side = torch.zeros(4, device="cuda"), torch.cuda.Stream()

    def work() -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            x.add_(1)

    with pytest.raises(RuntimeError, match="capturing stream has unjoined work"):
        captured(work)
    assert not side.is_capturing()


def test_a_graph_is_not_replayed_inside_another_capture(simulated: Any) -> None:
    x = torch.zeros(4, device="cuda")
    inner, _ = captured(lambda: x.add_(1))
    with pytest.raises(RuntimeError, match="previous error during capture"):  # of the end, over that of the replay
        captured(inner.replay)
    inner.replay()
    assert x.tolist() == [1] * 4


def test_random_numbers_are_drawn_anew_at_each_replay(simulated: Any) -> None:
    x = torch.zeros(64, device="cuda")
    halves = torch.full((64,), 0.5, device="cuda")

    def work() -> list[Any]:
        return [
            torch.rand(64, device="cuda"),
            torch.rand_like(x),
            torch.empty_like(x).normal_(),
            torch.bernoulli(halves),
            torch.nn.functional.dropout(halves),
        ]

    graph, tensors = captured(work)
    seen = []
    for seed in (1, None, 1):
        if seed is not None:
            torch.manual_seed(seed)
        graph.replay()
        seen.append([each.tolist() for each in tensors])
    for first, second, third in zip(*seen, strict=True):
        assert first != second
        assert first == third  # the seed decides, as in eager mode
        assert len(set(first)) > 1


def test_two_replays_under_way_have_random_numbers_of_their_own(simulated: Any) -> None:
    kept = torch.zeros(2, 64, device="cuda")
    graph, x = captured(lambda: torch.rand(64, device="cuda"))
    for row in range(2):
        graph.replay()
        kept[row] = x
    assert kept[0].tolist() != kept[1].tolist()


def test_an_external_event_is_recorded_by_each_replay() -> None:
    def program() -> float:
        x, event, side = torch.zeros(1, device="cuda"), torch.cuda.Event(external=True), torch.cuda.Stream()

        def work() -> None:
            x.add_(1)
            event.record()

        graph, _ = captured(work)
        torch.cuda.synchronize()
        graph.replay()
        side.wait_event(event)
        with torch.cuda.stream(side):
            y = x * 2
            side.synchronize()
            return y.item()  # type: ignore[no-any-return]

    assert results_of_seeds(program, 20) == [2] * 20


# -- memory


def test_the_memory_of_a_graph_is_given_to_nobody_else(simulated: Any) -> None:
    x = torch.zeros(1000, device="cuda")

    def work() -> tuple[int, Any]:
        between = x + 1
        return between.data_ptr(), between * 2

    graph, (freed, y) = captured(work)
    addresses = {freed, y.data_ptr()}
    del y
    torch.cuda.empty_cache()
    side = torch.cuda.Stream()
    others = [torch.full((1000,), 7.0, device="cuda") for _ in range(10)]
    with torch.cuda.stream(side):
        others += [torch.full((1000,), 7.0, device="cuda") for _ in range(10)]
    with torch.cuda.stream(torch.cuda.graph.default_capture_stream):
        others += [torch.full((1000,), 7.0, device="cuda") for _ in range(10)]
    assert not addresses & {each.data_ptr() for each in others}
    torch.cuda.synchronize()
    graph.replay()
    torch.cuda.synchronize()
    assert all(each.tolist() == [7.0] * 1000 for each in others)


def test_graphs_that_share_a_pool_share_memory(simulated: Any) -> None:
    x = torch.zeros(1000, device="cuda")

    def work() -> int:
        return (x + 1).data_ptr()

    first, address = captured(work, pool=torch.cuda.graph_pool_handle())
    second, again = captured(work, pool=first.pool())
    assert first.pool() == second.pool()
    assert again == address
    third, elsewhere = captured(work)
    assert third.pool() != first.pool()
    assert elsewhere != address


def test_a_branch_does_not_get_what_another_branch_has_freed(simulated: Any) -> None:
    x, side = torch.zeros(1000, device="cuda"), torch.cuda.Stream()

    def work() -> tuple[int, int]:
        origin = torch.cuda.current_stream()
        side.wait_stream(origin)
        here = (x + 1).data_ptr()
        with torch.cuda.stream(side):
            there = (x + 1).data_ptr()
        origin.wait_stream(side)
        return here, there

    _, (here, there) = captured(work)
    assert here != there


def test_the_memory_of_a_graph_is_free_when_it_is_gone(simulated: Any) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    graph, _ = captured(lambda: torch.zeros(1_000_000, device="cuda"))
    del _
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() >= before + 4_000_000
    graph.reset()
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() == before


# -- between host and device


def test_copies_of_pinned_memory_are_captured(simulated: Any) -> None:
    source, target = torch.zeros(4).pin_memory(), torch.zeros(4).pin_memory()
    x = torch.zeros(4, device="cuda")

    def work() -> None:
        x.copy_(source, non_blocking=True)
        target.copy_(x * 2, non_blocking=True)

    graph, _ = captured(work)
    for value in (1, 2):
        source.fill_(value)
        graph.replay()
        torch.cuda.synchronize()
        assert target.tolist() == [2 * value] * 4


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "item": (lambda x: x.sum().item(), UNSUPPORTED),
    "tolist": (lambda x: x.tolist(), UNSUPPORTED),
    "cpu": (lambda x: x.cpu(), UNSUPPORTED),
    "nonzero": (lambda x: x.nonzero(), UNSUPPORTED),
    "mask": (lambda x: x[x > 0], UNSUPPORTED),
    "bool": (lambda x: bool(x.sum() > 0), UNSUPPORTED),
    "pinned but blocking": (lambda x: x.copy_(torch.zeros(4).pin_memory()), UNSUPPORTED),
    "pageable": (lambda x: x.copy_(torch.zeros(4)), UNSUPPORTED),
    "a list": (lambda x: torch.tensor([1, 2], device="cuda"), UNSUPPORTED),
    "device": (lambda x: torch.cuda.synchronize(), UNSUPPORTED),
    "current stream": (lambda x: torch.cuda.current_stream().synchronize(), UNSUPPORTED),
    "another stream": (lambda x: torch.cuda.default_stream().synchronize(), UNSUPPORTED),
    "isolation": (lambda x: torch.cuda.current_stream().wait_stream(torch.cuda.Stream()), "dependency created on"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_waits_for_the_device_is_refused_and_ends_the_capture(simulated: Any, name: str) -> None:
    call, text = REFUSED[name]
    x = torch.zeros(4, device="cuda")
    stream = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        stream.wait_stream(torch.cuda.default_stream())
        torch.cuda.synchronize()
        graph.capture_begin()
        x.add_(1)
        with pytest.raises(RuntimeError, match=text):
            call(x)
        with pytest.raises(RuntimeError, match=INVALIDATED):
            x.add_(1)
        with pytest.raises(RuntimeError, match=INVALIDATED):
            graph.capture_end()
        assert not stream.is_capturing()
        x.add_(10)
        assert x.tolist() == [10] * 4
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        graph.replay()


def test_a_copy_of_pageable_memory_is_refused_though_it_does_not_block(simulated: Any) -> None:
    x = torch.zeros(4, device="cuda")

    def work() -> None:
        with pytest.raises(RuntimeError, match="unless the CPU tensor is pinned"):
            x.copy_(torch.ones(4), non_blocking=True)
        x.add_(1)

    graph, _ = captured(work)
    graph.replay()
    assert x.tolist() == [1] * 4


@pytest.mark.parametrize("mode", ["global", "thread_local"])
def test_the_mode_says_whether_another_thread_may_ask(simulated: Any, mode: str) -> None:
    x, event, graph = torch.zeros(4, device="cuda"), torch.cuda.Event(), torch.cuda.CUDAGraph()
    event.record()
    torch.cuda.synchronize()

    def ask() -> None:
        if mode == "thread_local":
            assert event.query()
            assert x.tolist() == [0] * 4
            return
        with pytest.raises(RuntimeError, match=UNSUPPORTED):
            event.query()

    def capture() -> None:
        with torch.cuda.graph(graph, capture_error_mode=mode):
            x.add_(1)
            with in_thread(ask) as thread:
                thread.join()

    if mode == "global":
        with pytest.raises(RuntimeError, match=INVALIDATED):
            capture()
        return
    capture()
    graph.replay()
    assert x.tolist() == [1] * 4


# -- the objects


def test_a_stream_knows_whether_it_is_capturing(simulated: Any) -> None:
    side = torch.cuda.Stream()
    assert not torch.cuda.is_current_stream_capturing()

    def work() -> None:
        assert torch.cuda.is_current_stream_capturing()
        assert torch.cuda.current_stream().is_capturing()
        assert not side.is_capturing()
        side.wait_stream(torch.cuda.current_stream())
        assert side.is_capturing()
        torch.zeros(1, device="cuda")

    captured(work)
    assert not side.is_capturing()
    assert not torch.cuda.is_current_stream_capturing()


def test_a_capture_cannot_begin_on_the_default_stream(simulated: Any) -> None:
    with pytest.raises(RuntimeError, match="must be captured on a non-default stream"):
        torch.cuda.CUDAGraph().capture_begin()


def test_a_capture_has_to_end_on_the_stream_it_began_on(simulated: Any) -> None:
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match="must end on the same stream it began on"):
        graph.capture_end()
    with torch.cuda.stream(stream):
        torch.zeros(1, device="cuda")
        graph.capture_end()


def test_an_empty_graph_is_warned_of(simulated: Any) -> None:
    with pytest.warns(UserWarning, match="The CUDA Graph is empty"):
        graph, _ = captured(lambda: None)
    graph.replay()


def test_a_graph_is_captured_once_until_it_is_reset(simulated: Any) -> None:
    x = torch.zeros(4, device="cuda")
    graph, _ = captured(lambda: x.add_(1))
    with torch.cuda.stream(torch.cuda.Stream()):
        with pytest.raises(RuntimeError, match="already owns a captured graph"):
            graph.capture_begin()
        graph.reset()
        with pytest.raises(RuntimeError, match="replay without a preceding successful capture"):
            graph.replay()
        with pytest.raises(RuntimeError, match="pool without a preceding successful capture"):
            graph.pool()
        graph.capture_begin()
        x.add_(10)
        graph.capture_end()
        torch.cuda.synchronize()
        graph.replay()
        assert x.tolist() == [10] * 4


@pytest.mark.skipif(not hasattr(torch.accelerator, "Graph"), reason="this torch has no torch.accelerator.Graph")
def test_a_graph_of_the_accelerator_is_a_context(simulated: Any) -> None:
    x = torch.zeros(4, device="cuda")
    stream, graph = torch.Stream(), torch.accelerator.Graph()
    with stream, graph:
        x += 1
    again = torch.accelerator.Graph(pool=graph.pool(), capture_error_mode="relaxed")
    with stream, again:
        assert torch.cuda.default_stream().query()
        x += 10
    graph.replay()
    again.replay()
    assert x.tolist() == [11] * 4
    assert again.pool() == graph.pool()


def test_a_graph_does_not_outlive_its_simulation() -> None:
    with simulate():
        x = torch.zeros(1, device="cuda")
        graph, _ = captured(lambda: x.add_(1))
    with pytest.raises(SimulationError, match="no simulation is on"):
        graph.replay()
    with simulate():
        with pytest.raises(SimulationOver):
            graph.replay()
        y = torch.zeros(1, device="cuda")
        again, _ = captured(lambda: y.add_(1))  # the side stream of torch.cuda.graph is a new one as well
        again.replay()
        assert y.item() == 1


# -- training


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def test_a_whole_training_step_in_a_graph_is_the_step_on_the_cpu(simulated: Any) -> None:
    plain = network()
    graphed = copy.deepcopy(plain).cuda()
    batch = torch.zeros(3, 4, device="cuda")
    optimizer = torch.optim.SGD(graphed.parameters(), lr=0.1)

    def step() -> Any:
        loss = graphed(batch).pow(2).sum()
        loss.backward()
        optimizer.step()
        return loss

    graphed.zero_grad(set_to_none=True)
    graph, loss = captured(step)
    reference = torch.optim.SGD(plain.parameters(), lr=0.1)
    for number in range(5):
        data = torch.randn(3, 4, generator=torch.Generator().manual_seed(number))
        batch.copy_(data)
        graph.replay()
        reference.zero_grad()
        expected = plain(data).pow(2).sum()
        expected.backward()
        reference.step()
        assert loss.item() == expected.item()
    for ours, theirs in zip(graphed.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.cpu(), theirs)


def test_a_backward_pass_in_a_graph_takes_no_notice_of_another_device() -> None:
    with simulate(devices=2, seed=1):
        other = torch.ones(4, device="cuda:1")
        weight, x = torch.ones(4, device="cuda", requires_grad=True), torch.ones(4, device="cuda")

        def step() -> None:
            (weight * x).sum().backward()

        graph, _ = captured(step)
        x.fill_(3)
        graph.replay()
        assert weight.grad.tolist() == [3] * 4
        assert other.tolist() == [1] * 4


@pytest.mark.parametrize("seed", range(3))
def test_make_graphed_callables_gives_the_gradients_of_the_plain_module(seed: int) -> None:
    with simulate(seed=seed):
        plain = network()
        module = copy.deepcopy(plain).cuda()
        graphed = torch.cuda.make_graphed_callables(module, (torch.randn(3, 4, device="cuda", requires_grad=True),))
        for number in range(3):
            data = torch.randn(3, 4, generator=torch.Generator().manual_seed(number))
            ours, theirs = data.cuda().requires_grad_(), data.clone().requires_grad_()
            module.zero_grad()
            plain.zero_grad()
            graphed(ours).pow(2).sum().backward()
            plain(theirs).pow(2).sum().backward()
            assert torch.equal(ours.grad.cpu(), theirs.grad)
            for a, b in zip(module.parameters(), plain.parameters(), strict=True):
                assert torch.equal(a.grad.cpu(), b.grad)


def test_a_gradient_that_a_replay_makes_is_waited_for_where_it_is_used() -> None:
    """The graphed part ran on a side stream, so its backward replay does; what comes before it is on another one."""

    def program() -> Any:
        sample = torch.zeros(3, 4, device="cuda", requires_grad=True)
        graphed = torch.cuda.make_graphed_callables(network().cuda(), (sample,))
        x, side = torch.ones(3, 4, device="cuda", requires_grad=True), torch.cuda.Stream()
        doubled = x * 2
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y = graphed(doubled).sum()
        torch.cuda.current_stream().wait_stream(side)
        y.backward()
        return x.grad.tolist()

    plain = torch.ones(3, 4, requires_grad=True)
    network()(plain * 2).sum().backward()
    assert results_of_seeds(program, 10) == [plain.grad.tolist()] * 10


# -- the explorer


def replay_and_read(fixed: bool) -> float:
    """The replay is on one stream, and another one uses its result."""
    x, side = torch.zeros(1, device="cuda"), torch.cuda.Stream()
    graph, _ = captured(lambda: x.add_(1))
    torch.cuda.synchronize()
    graph.replay()
    if fixed:
        side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = x * 2
        side.synchronize()
        return y.item()  # type: ignore[no-any-return]


def explored(function: Callable[[], Any]) -> dict[Any, int]:
    """The outcomes of all schedules, once it is shown that there are no others."""
    outcomes: dict[Any, int] = {}

    @scenario
    def program(rig: Any) -> Any:
        with simulate():
            outcome = function()
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        return outcome

    verdict = explore(program, seconds=100)
    assert verdict.kind is VerdictKind.PROVED, verdict
    return outcomes


def test_the_explorer_finds_that_nobody_waits_for_a_replay() -> None:
    assert set(explored(lambda: replay_and_read(False))) == {0, 2}


def test_the_explorer_proves_that_a_replay_is_waited_for() -> None:
    assert set(explored(lambda: replay_and_read(True))) == {2}


def query_beside_capture(mode: str) -> str:
    """A thread asks an event while another thread may be capturing. Whose call is refused?"""
    x, event = torch.zeros(1, device="cuda"), torch.cuda.Event()
    event.record()
    torch.cuda.synchronize()
    graph, refused = torch.cuda.CUDAGraph(), []

    def ask() -> None:
        try:
            event.query()
        except RuntimeError:
            refused.append("query")

    thread = threading.Thread(target=ask)
    stream = torch.cuda.Stream()
    thread.start()
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode=mode)
        try:
            x.add_(1)
        except RuntimeError:
            refused.append("kernel")
        try:
            graph.capture_end()
        except RuntimeError:
            refused.append("end")
    thread.join()
    return ", ".join(sorted(refused))


def test_the_explorer_finds_the_query_that_ends_a_capture() -> None:
    outcomes = explored(lambda: query_beside_capture("global"))
    assert set(outcomes) == {"", "end, query", "end, kernel, query"}
    assert set(explored(lambda: query_beside_capture("thread_local"))) == {""}


def replay_twice() -> float:
    """One graph on two streams: it reads, and then writes what depends on that."""
    x, y = torch.zeros(1, device="cuda"), torch.zeros(1, device="cuda")

    def work() -> None:
        y.copy_(x)
        torch.add(y, 1, out=x)

    graph, _ = captured(work)
    torch.cuda.synchronize()
    for _ in range(2):
        with torch.cuda.stream(torch.cuda.Stream()):
            graph.replay()
    torch.cuda.synchronize()
    return x.item()  # type: ignore[no-any-return]


def test_the_explorer_proves_that_a_graph_does_not_overlap_itself() -> None:
    assert set(explored(replay_twice)) == {2}


def test_the_explorer_runs_the_branches_of_a_graph_in_every_order() -> None:
    outcomes = set(explored(lambda: branches(False, values=(1.0,))[0]))
    assert 3 in outcomes
    assert len(outcomes) == 2  # the other is what was in the memory before
    assert set(explored(lambda: branches(True, values=(1.0,))[0])) == {3}
