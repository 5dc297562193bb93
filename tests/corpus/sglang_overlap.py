"""SGLang's overlap scheduler: the forward of a batch is launched while the result of the one before is processed."""

from __future__ import annotations

import queue
import threading

import torch

from tests.corpus.registry import LONG, in_threads, snippet


@snippet("sgl#5788", hazards=(15, 16), explored_rounds=1)
def copy_done(fixed: bool, rounds: int) -> bool:
    """The tokens are copied to the host without blocking. Who reads them has to wait for the event behind the copy."""
    ids = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    results: queue.Queue = queue.Queue()
    seen = []

    def forward() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(rounds):
                ids.add_(1)
                host = ids.to("cpu", non_blocking=True)
                copy_done = torch.cuda.Event()
                copy_done.record()
                results.put((host, copy_done))

    def process() -> None:
        for _ in range(rounds):
            host, copy_done = results.get()
            if fixed:
                copy_done.synchronize()
            seen.append(host.tolist()[0])

    in_threads(forward, process)
    return seen == [batch + 1.0 for batch in range(rounds)]


@snippet("sgl#5788", hazards=(2,), explored_rounds=1)
def launch_done(fixed: bool, rounds: int) -> bool:
    """The scheduler makes a result before the worker has launched the batch, and synchronises with its event too early.

    `copy_done.synchronize()` on an event that is not recorded returns at once. `launch_done`, an event of the *host*
    that is set behind the record, has to come first.
    """
    results = []
    for _ in range(rounds):
        host = torch.zeros(4).pin_memory()
        results.append((host, torch.cuda.Event(), threading.Event()))
    seen = []

    def worker() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for batch, (host, copy_done, launch_done) in enumerate(results):
                host.copy_(torch.full((4,), batch + 1.0, device="cuda"), non_blocking=True)
                copy_done.record()
                launch_done.set()

    def scheduler() -> None:
        for host, copy_done, launch_done in results:
            if fixed:
                launch_done.wait()
            copy_done.synchronize()
            seen.append(host.tolist()[0])

    in_threads(scheduler, worker)
    return seen == [batch + 1.0 for batch in range(rounds)]


@snippet("sgl#38472", hazards=(1,))
def layer_done_counter(fixed: bool, rounds: int) -> bool:
    """HiCache loads the layers of a prefix one after the other; the model waits for each just before it needs it.

    There is an event for each layer, but the loader thread may not have come to it: the model's stream then waits for
    nothing. `LayerDoneCounter` counts on the host how many layers were *recorded*; only what is counted may be waited
    for.
    """
    on_host = torch.arange(1.0, rounds + 1).pin_memory()
    kv_cache = torch.zeros(rounds, device="cuda")
    torch.cuda.synchronize()
    events = [torch.cuda.Event() for _ in range(rounds)]
    counter, moved = [0], threading.Condition()
    attended = []

    def loader() -> None:
        load_stream = torch.cuda.Stream()
        with torch.cuda.stream(load_stream):
            for layer in range(rounds):
                torch.cuda._sleep(LONG)
                kv_cache[layer].copy_(on_host[layer], non_blocking=True)
                events[layer].record()
                with moved:
                    counter[0] += 1
                    moved.notify_all()

    def model() -> None:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for layer in range(rounds):
                if fixed:
                    with moved:
                        while counter[0] <= layer:
                            moved.wait()
                events[layer].wait(stream)
                attended.append(kv_cache[layer] + 0)
            stream.synchronize()

    in_threads(model, loader)
    return [layer.item() for layer in attended] == [layer + 1.0 for layer in range(rounds)]


@snippet("sgl#30435", "torch/cutorch#222", hazards=(5,), rounds=8, explored_rounds=1)
def future_map(fixed: bool, rounds: int) -> bool:
    """Two streams publish tokens in the future map, with one event. An event holds a single capture point.

    `publish_ready` is recorded on the decode stream, and again on the prefill stream. The reader waits for the second
    record only; what the decode stream has stored is read before it is there. Each publisher needs an event of its own.
    """
    decode, prefill, forward = torch.cuda.Stream(), torch.cuda.Stream(), torch.cuda.Stream()
    tokens = torch.zeros(rounds, 2, device="cuda")
    torch.cuda.synchronize()
    first_ready, second_ready = torch.cuda.Event(), torch.cuda.Event()
    read = []
    for batch in range(rounds):
        publish_ready = first_ready
        with torch.cuda.stream(decode):
            torch.cuda._sleep(LONG)
            tokens[batch, 0].fill_(1)
            publish_ready.record()
        if fixed:
            publish_ready = second_ready
        with torch.cuda.stream(prefill):
            tokens[batch, 1].fill_(2)
            publish_ready.record()
        with torch.cuda.stream(forward):
            forward.wait_event(first_ready)
            forward.wait_event(second_ready)
            read.append(tokens[batch] + 0)
    torch.cuda.synchronize()
    return all(row.tolist() == [1, 2] for row in read)


@snippet("sgl#5788", hazards=(6,), rounds=6)
def event_of_the_batch_before(fixed: bool, rounds: int) -> bool:
    """The tokens of this batch, behind the event of the one before.

    The scheduler is a batch behind the worker, and keeps `copy_done` where it keeps the worker's state, not with the
    result. It synchronises with an event that was recorded, and is done, and belongs to another copy.
    """
    stream = torch.cuda.Stream()
    ids = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    seen = []
    copy_done_of_worker = torch.cuda.Event()
    copy_done_of_worker.record()
    for _ in range(rounds):
        with torch.cuda.stream(stream):
            ids.add_(1)
            host = ids.to("cpu", non_blocking=True)
            copy_done = torch.cuda.Event()
            copy_done.record()
        if fixed:
            copy_done.synchronize()
        else:
            copy_done_of_worker.synchronize()
        seen.append(host.tolist()[0])
        copy_done_of_worker = copy_done
    return seen == [batch + 1.0 for batch in range(rounds)]
