"""vLLM's expert rebalancing: the hand-shake of the main thread and the asynchronous worker, with bare device events.

The main thread runs the model on its stream. The worker moves the weights of experts on a stream of its own, one layer
after the other. Two events go between them, in opposite directions, and both are waited for by a *stream*: a wait that
comes before the record is a no-op (vllm#37601 made a class of its own because of that).
"""

from __future__ import annotations

import queue
import threading

import torch

from tests.corpus.registry import in_threads, snippet


@snippet("vllm#37601", "sgl#38472", hazards=(1,), explored_rounds=1)
def rearrange_event(fixed: bool, rounds: int) -> bool:
    """The main thread takes a snapshot of the load of the experts and records `rearrange_event`; the worker waits.

    The worker is started early, so that it is there when it is needed. Then its stream has waited for an event that
    nobody has recorded, and it balances by a snapshot that is not taken yet. The event can only order what the *host*
    has ordered already: a flag that is set behind the record.
    """
    snapshot = torch.zeros(4, device="cuda")
    window = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    rearrange_event = torch.cuda.Event()
    recorded = threading.Event()
    loads = []

    def main() -> None:
        for _ in range(rounds):  # the steps of the model count what they use
            window.add_(1)
        snapshot.copy_(window)
        rearrange_event.record()
        recorded.set()

    def worker() -> None:
        cuda_stream = torch.cuda.Stream()
        if fixed:
            recorded.wait()
        rearrange_event.wait(cuda_stream)
        with torch.cuda.stream(cuda_stream):
            loads.append(snapshot.tolist())

    in_threads(worker, main)
    return loads == [[float(rounds)] * 4]


@snippet("vllm#37601", "vllm#32881", hazards=(1, 18), rounds=6)
def consumed_event(fixed: bool, rounds: int) -> bool:
    """The worker fills one buffer for layer after layer; `consumed_event` lets it overwrite what the model has taken.

    The event is made by the worker, fresh for each layer, and recorded by the main thread when it has enqueued the copy
    out of the buffer. The worker's stream waits for it as soon as the layer is published, which is almost always before
    the record. So the wait orders nothing, and the next layer lands on top of this one.
    """
    expert_buffer = torch.zeros(4, device="cuda")
    weights = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    results: queue.Queue = queue.Queue()

    def worker() -> None:
        cuda_stream = torch.cuda.Stream()
        with torch.cuda.stream(cuda_stream):
            for layer in range(rounds):
                expert_buffer.fill_(layer + 1)
                cuda_stream.synchronize()
                consumed_event, acknowledged = torch.cuda.Event(), threading.Event()
                results.put((layer, consumed_event, acknowledged))
                if fixed:
                    acknowledged.wait()
                consumed_event.wait(cuda_stream)

    def main() -> None:
        for _ in range(rounds):
            layer, consumed_event, acknowledged = results.get()
            weights[layer].copy_(expert_buffer)
            consumed_event.record()
            acknowledged.set()

    in_threads(worker, main)
    return weights[:, 0].tolist() == [layer + 1.0 for layer in range(rounds)]
