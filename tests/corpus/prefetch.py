"""Prefetchers: the next batch is copied to the device, on a stream of its own, while this one is computed."""

from __future__ import annotations

import queue

import torch

from tests.corpus.registry import LONG, in_threads, snippet


@snippet("trec#2598", hazards=(20,), rounds=8, explored_rounds=1)
def no_wait_stream(fixed: bool, rounds: int) -> bool:
    """The copy runs on its stream, the model on another, and nothing lets the model wait for the copy."""
    compute, side = torch.cuda.current_stream(), torch.cuda.Stream()
    outputs = []
    for number in range(rounds):
        host = torch.full((4,), number + 1.0).pin_memory()
        with torch.cuda.stream(side):
            torch.cuda._sleep(LONG)
            batch = host.to("cuda", non_blocking=True)
        if fixed:
            compute.wait_stream(side)
        batch.record_stream(compute)
        outputs.append(batch * 2)
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet("trec#4191", "trec#4231", "meg#5788", hazards=(21,), rounds=8)
def no_record_stream(fixed: bool, rounds: int) -> bool:
    """A batch is let go of while the model still reads it, and the prefetch stream gets its memory for the next one.

    Memory belongs to the stream on which it was allocated, which here is the prefetcher's. When the last reference
    goes, the allocator may give it to that stream again at once. That the *model's* stream still reads it nobody has
    said.
    """
    compute, side = torch.cuda.current_stream(), torch.cuda.Stream()
    outputs = []
    for number in range(rounds):
        host = torch.full((4,), number + 1.0).pin_memory()
        with torch.cuda.stream(side):
            batch = host.to("cuda", non_blocking=True)
        compute.wait_stream(side)
        if fixed:
            batch.record_stream(compute)
        torch.cuda._sleep(LONG)
        outputs.append(batch * 2)
        del batch
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet("huggingface/diffusers#13502", "NVIDIA/TransformerEngine#2341", hazards=(7,), rounds=8, explored_rounds=1)
def wait_stream_before_the_copy(fixed: bool, rounds: int) -> bool:
    """`wait_stream` waits for what the other stream holds *now*; the copy is enqueued a line later."""
    compute, side = torch.cuda.current_stream(), torch.cuda.Stream()
    buffer = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    outputs = []
    for number in range(rounds):
        host = torch.full((4,), number + 1.0).pin_memory()
        side.wait_stream(compute)
        if not fixed:
            compute.wait_stream(side)
        with torch.cuda.stream(side):
            buffer.copy_(host, non_blocking=True)
        if fixed:
            compute.wait_stream(side)
        outputs.append(buffer * 2)
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet("DeepSpec#78", hazards=(48,), rounds=3)
def exception_swallowed(fixed: bool, rounds: int) -> bool:
    """The thread that prefetches dies; the trainer finds the old batch in the buffer and trains on it again.

    Right is either every batch once, or the error.
    """
    side = torch.cuda.Stream()
    buffer = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    filled: queue.Queue = queue.Queue()
    free: queue.Queue = queue.Queue()
    trained, reported = [], []

    def prefetcher() -> None:
        error = None
        try:
            with torch.cuda.stream(side):
                for number in range(rounds):
                    if number == rounds - 1:
                        raise OSError("the file ends here")
                    buffer.fill_(number + 1)
                    event = torch.cuda.Event()
                    event.record()
                    filled.put((event, None))
                    side.wait_event(free.get())
        except OSError as raised:
            error = raised
        filled.put((torch.cuda.Event(), error))  # in any case: the trainer must not hang

    def trainer() -> None:
        for _ in range(rounds):
            event, error = filled.get()
            if fixed and error is not None:
                reported.append(error)
                return
            event.wait()
            trained.append(buffer + 0)
            consumed = torch.cuda.Event()
            consumed.record()
            free.put(consumed)

    in_threads(prefetcher, trainer)
    numbers = [batch.tolist()[0] for batch in trained]
    return len(set(numbers)) == len(numbers) and (len(numbers) == rounds or len(reported) == 1)
