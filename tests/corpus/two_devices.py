"""Two devices: copies between them, and on which one a thread is."""

from __future__ import annotations

import torch

from tests.corpus.registry import LONG, in_threads, snippet


@snippet("mc#3570", hazards=(20,), rounds=6, explored_rounds=1, devices=2)
def peer_copy_before_it_is_computed(fixed: bool, rounds: int) -> bool:
    """A block goes from one device to the other. The copy runs on the *current* streams of both, not on the one where
    the block is computed.
    """
    compute = torch.cuda.Stream("cuda:0")
    kv_cache = torch.zeros(rounds, 4, device="cuda:0")
    torch.cuda.synchronize(0)
    received = []
    for block in range(rounds):
        with torch.cuda.stream(compute):
            torch.cuda._sleep(LONG)
            kv_cache[block].fill_(block + 1)
        if fixed:
            torch.cuda.current_stream(0).wait_stream(compute)
        received.append(kv_cache[block].to("cuda:1", non_blocking=True))
    return [block.tolist()[0] for block in received] == [block + 1.0 for block in range(rounds)]


@snippet("trt#19444", "sgl#13231", hazards=(19, 20), rounds=6, explored_rounds=1, devices=2)
def received_before_the_copy_is_done(fixed: bool, rounds: int) -> bool:
    """The other end: a stream of the second device reads the block; the copy went by way of the current one there."""
    decode = torch.cuda.Stream("cuda:1")
    target = torch.zeros(rounds, 4, device="cuda:1")
    torch.cuda.synchronize(1)
    read = []
    for block in range(rounds):
        source = torch.full((4,), block + 1.0, device="cuda:0")
        target[block].copy_(source, non_blocking=True)
        if fixed:
            decode.wait_stream(torch.cuda.current_stream(1))
        with torch.cuda.stream(decode):
            read.append(target[block] + 0)
    torch.cuda.synchronize(1)
    return [block.tolist()[0] for block in read] == [block + 1.0 for block in range(rounds)]


@snippet(
    *("pt#58626", "sgl#5778", "facebookresearch/fairseq#3560"), hazards=(11,), rounds=1, explored_rounds=1, devices=2
)
def thread_on_the_first_device(fixed: bool, rounds: int) -> bool:
    """The current device is a thread's own too: a worker that does not set it puts everything on the first one."""
    torch.cuda.set_device(1)
    places = []

    def loader() -> None:
        if fixed:
            torch.cuda.set_device(1)
        places.append(torch.ones(4, device="cuda").device)

    in_threads(loader)
    torch.cuda.set_device(0)
    return places == [torch.device("cuda:1")]


@snippet("NVIDIA/cuCascade#189", "vllm#37670", "apex#646", hazards=(12,), rounds=2, explored_rounds=1, devices=2)
def event_of_another_device(fixed: bool, rounds: int) -> bool:
    """A pool of events for all devices. An event belongs to the device of its first record; another one refuses it.

    Who catches the error, as "only a matter of speed", has lost the wait. Events have to be pooled for each device.
    """
    pool = {0: torch.cuda.Event(), 1: torch.cuda.Event()} if fixed else dict.fromkeys((0, 1), torch.cuda.Event())
    x = [torch.zeros(4, device=f"cuda:{index}") for index in (0, 1)]
    read = []
    refused = 0
    for index in (0, 1):
        torch.cuda.synchronize(index)
        producer, consumer = torch.cuda.Stream(index), torch.cuda.Stream(index)
        with torch.cuda.stream(producer):
            x[index].fill_(1)
            try:
                pool[index].record()
            except RuntimeError:
                refused += 1
        with torch.cuda.stream(consumer):
            pool[index].wait()
            read.append(x[index] + 0)
        torch.cuda.synchronize(index)
    return refused == 0 and all(row.tolist() == [1.0] * 4 for row in read)
