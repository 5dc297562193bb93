"""CUDA graphs: the tensors of a graph are always the same ones, and it holds no step of the host."""

from __future__ import annotations

import threading

import torch

from tests.corpus.registry import in_threads, snippet


def captured(static_input: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """A graph that doubles its input, and its output."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        static_output = static_input * 2
    return graph, static_output


@snippet(hazards=(17, 19), rounds=6, graphs=True)
def static_input_overwritten(fixed: bool, rounds: int) -> bool:
    """The next batch is copied into the graph's input on a side stream, while a replay still reads it."""
    static_input = torch.zeros(4, device="cuda")
    graph, static_output = captured(static_input)
    compute, loader = torch.cuda.current_stream(), torch.cuda.Stream()
    batches = [torch.full((4,), number + 1.0).pin_memory() for number in range(rounds)]
    outputs = []
    for batch in batches:
        if fixed:
            loader.wait_stream(compute)
        with torch.cuda.stream(loader):
            static_input.copy_(batch, non_blocking=True)
        compute.wait_stream(loader)
        graph.replay()
        outputs.append(static_output.clone())
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet(hazards=(18, 19), rounds=6, graphs=True)
def static_output_overwritten(fixed: bool, rounds: int) -> bool:
    """The output is copied to the host on a side stream; the next replay writes it again."""
    static_input = torch.zeros(4, device="cuda")
    graph, static_output = captured(static_input)
    compute, copies = torch.cuda.current_stream(), torch.cuda.Stream()
    outputs = []
    for _ in range(rounds):
        static_input.add_(1)
        graph.replay()
        copies.wait_stream(compute)
        with torch.cuda.stream(copies):
            outputs.append(static_output.to("cpu", non_blocking=True))
        if fixed:
            compute.wait_stream(copies)
    torch.cuda.synchronize()
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet(hazards=(20,), rounds=6, explored_rounds=1, graphs=True)
def replay_not_joined(fixed: bool, rounds: int) -> bool:
    """The graph is replayed on a side stream, and its output read on another that does not wait for it."""
    static_input = torch.zeros(4, device="cuda")
    graph, static_output = captured(static_input)
    torch.cuda.synchronize()
    compute, side = torch.cuda.current_stream(), torch.cuda.Stream()
    outputs = []
    for _ in range(rounds):
        static_input.add_(1)
        side.wait_stream(compute)
        with torch.cuda.stream(side):
            graph.replay()
        if fixed:
            compute.wait_stream(side)
        outputs.append(static_output.clone())
        compute.wait_stream(side)  # for the next input
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet(hazards=(29,), rounds=1, explored_rounds=1, graphs=True)
def fork_not_joined_in_the_capture(fixed: bool, rounds: int) -> bool:
    """A side stream takes part in the capture and does not come back: CUDA refuses the graph (error 904)."""
    x = torch.ones(4, device="cuda")
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    try:
        with torch.cuda.graph(graph):
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                y = x * 2
            if fixed:
                torch.cuda.current_stream().wait_stream(side)
    except RuntimeError:
        return False
    graph.replay()
    return y.tolist() == [2.0] * 4


@snippet("pt#192000", "pt#155372", hazards=(29,), rounds=1, explored_rounds=1, graphs=True)
def captured_event_used_outside(fixed: bool, rounds: int) -> bool:
    """An event is recorded within the capture and synchronised with after the replay: it is a node of the graph, not an
    event of the stream (error 907). One that is recorded behind the replay tells what was wanted.
    """
    x = torch.ones(4, device="cuda")
    graph, done = torch.cuda.CUDAGraph(), torch.cuda.Event()
    with torch.cuda.graph(graph):
        y = x * 2
        done.record()
    if fixed:
        done = torch.cuda.Event()
    graph.replay()
    if fixed:
        done.record()
    host = y.to("cpu", non_blocking=True)
    try:
        done.synchronize()
    except RuntimeError:
        return False
    torch.cuda.synchronize()
    return host.tolist() == [2.0] * 4


@snippet("asc#4233", "meg#7014", hazards=(30,), rounds=6, explored_rounds=1, graphs=True)
def waits_of_the_host_are_not_captured(fixed: bool, rounds: int) -> bool:
    """The model waits for the loader in the middle of its forward pass, by a flag of the host. Then it is captured.

    The flag is looked at once, when the graph is captured. A replay runs no Python, and so waits for nobody.
    """
    kv_cache = torch.zeros(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    compute, load = torch.cuda.current_stream(), torch.cuda.Stream()
    loaded = threading.Event()
    loaded.set()  # by the warm-up
    with torch.cuda.graph(graph):
        loaded.wait()
        attended = kv_cache * 2
    outputs = []
    for number in range(rounds):
        block = torch.full((4,), number + 1.0).pin_memory()
        load.wait_stream(compute)
        with torch.cuda.stream(load):
            kv_cache.copy_(block, non_blocking=True)
            event = load.record_event()
        if fixed:
            compute.wait_event(event)
        graph.replay()
        outputs.append(attended.clone())
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet("pt#104487", "pt#148594", hazards=(28,), rounds=1, explored_rounds=1, graphs=True)
def a_watchdog_queries_while_another_thread_captures(fixed: bool, rounds: int) -> bool:
    """NCCL's watchdog asks its events whether they are done. While any thread captures in the mode "global", that is
    forbidden to all threads, and it ends the capture. `capture_error_mode="thread_local"` concerns the capturing one
    only.
    """
    x = torch.ones(4, device="cuda")
    work = torch.cuda.Event()
    work.record()
    torch.cuda.synchronize()
    begun, asked = threading.Event(), threading.Event()
    results = []

    def watchdog() -> None:
        begun.wait()
        try:
            results.append(work.query())
        except RuntimeError:
            results.append("refused")
        asked.set()

    def capture() -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local" if fixed else "global"):
                begun.set()
                y = x * 2
                asked.wait()
        except RuntimeError:
            results.append("capture is lost")
            return
        graph.replay()
        results.append(y.tolist())

    in_threads(watchdog, capture)
    return results == [True, [2.0] * 4]
