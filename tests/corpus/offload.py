"""KV caches and activations between device and host: pinned buffers, and who may touch them when."""

from __future__ import annotations

import queue
import threading

import torch

from tests.corpus.registry import LONG, in_threads, snippet


@snippet("trt#15546", "vllm#29288", "vllm#51667", hazards=(17,), rounds=8)
def staging_buffer_overwritten(fixed: bool, rounds: int) -> bool:
    """The page table is written into one pinned buffer, step after step, and copied to the device without blocking.

    The host is ahead of the device: it writes the table of the next step while the copy of this one has not begun. The
    buffer is free when the copy is *done*, which an event tells.
    """
    staging = torch.zeros(4).pin_memory()
    copied = torch.cuda.Event()
    copied.record()  # nothing is to be waited for yet
    tables = []
    for step in range(rounds):
        if fixed:
            copied.synchronize()
        staging.fill_(step + 1)
        tables.append(staging.to("cuda", non_blocking=True))
        copied.record()
    return [table.tolist()[0] for table in tables] == [step + 1.0 for step in range(rounds)]


@snippet("pt#185252", hazards=(16,), explored_rounds=1)
def item_too_early(fixed: bool, rounds: int) -> bool:
    """`.to("cpu", non_blocking=True)` returns before anything was copied, and `.item()` of a CPU tensor waits for
    nobody.
    """
    loss = torch.zeros((), device="cuda")
    seen = []
    for _ in range(rounds):
        loss.add_(1)
        on_host = loss.to("cpu", non_blocking=True)
        if fixed:
            torch.cuda.current_stream().synchronize()
        seen.append(on_host.item())
    return seen == [step + 1.0 for step in range(rounds)]


@snippet("pt#185252", hazards=(16,), rounds=4, explored_rounds=1)
def sum_on_the_host_too_early(fixed: bool, rounds: int) -> bool:
    """The same with an operation of the CPU on the tensor that is not there yet: the number of tokens that were
    accepted.
    """
    accepted = torch.ones(4, device="cuda")
    torch.cuda.synchronize()
    counts = []
    side = torch.cuda.Stream()
    for _ in range(rounds):
        with torch.cuda.stream(side):
            on_host = (accepted * 2).to("cpu", non_blocking=True)
            done = side.record_event()
        if fixed:
            done.synchronize()
        counts.append(on_host.sum().item())
    return counts == [8] * rounds


@snippet("pt#170239", hazards=(15,), rounds=4, explored_rounds=1)
def gpu_waits_where_the_cpu_reads(fixed: bool, rounds: int) -> bool:
    """gloo's all-reduce of CUDA tensors: copy to the host, reduce there, copy back.

    `event.wait()` lets a *stream* wait. The one that reads is the host, and for the host that line is none at all.
    """
    gradient = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    copies = torch.cuda.Stream()
    for _ in range(rounds):
        gradient.add_(1)
        copies.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(copies):
            on_host = gradient.to("cpu", non_blocking=True)
            copied = copies.record_event()
        if fixed:
            copied.synchronize()
        else:
            copied.wait(torch.cuda.current_stream())
        reduced = on_host * 2  # what the other ranks have to add
        gradient.copy_(reduced)
    return gradient.tolist() == [2.0 ** (rounds + 1) - 2] * 4


@snippet("vllm#32881", hazards=(18,), rounds=8, explored_rounds=3)
def double_buffer_without_back_pressure(fixed: bool, rounds: int) -> bool:
    """Blocks of the KV cache go to the disk by way of two pinned buffers. The copies are faster than the disk.

    An event tells the writer that a buffer is full. Nothing tells the copying thread that one is empty again, so the
    third block lands on the first.
    """
    blocks = [torch.full((4,), number + 1.0, device="cuda") for number in range(rounds)]
    torch.cuda.synchronize()
    buffers = [torch.zeros(4).pin_memory() for _ in range(2)]
    empty = [threading.Semaphore(1) for _ in range(2)]
    full: queue.Queue = queue.Queue()
    disk = []

    def offload() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for number, block in enumerate(blocks):
                slot = number % 2
                if fixed:
                    empty[slot].acquire()
                buffers[slot].copy_(block, non_blocking=True)
                copied = torch.cuda.Event()
                copied.record()
                full.put((slot, copied))

    def write() -> None:
        for _ in range(rounds):
            slot, copied = full.get()
            copied.synchronize()
            disk.append(buffers[slot].tolist()[0])
            empty[slot].release()

    in_threads(offload, write)
    return disk == [number + 1.0 for number in range(rounds)]


@snippet("mc#1863", hazards=(6, 18), rounds=6, explored_rounds=2)
def ring_slot_without_sequence_number(fixed: bool, rounds: int) -> bool:
    """A ring whose slots have a flag "ready". The flag of the lap before looks like the flag of this one.

    The reader wants transfer `n` from slot `n % 1`, sees that the slot is ready, and takes transfer `n - 1` once more.
    A slot that carries the *number* of its transfer cannot be mistaken. (One slot is the shortest ring.)
    """
    slot = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    changed = threading.Condition()
    ready, taken = [0, None], [0]  # the number of the transfer, and its event
    read = []

    def sender() -> None:
        stream = torch.cuda.Stream()
        for number in range(1, rounds + 1):
            with changed:
                while taken[0] < number - 1:
                    changed.wait()
            with torch.cuda.stream(stream):
                slot.fill_(number)
                done = stream.record_event()
            with changed:
                ready[:] = [number, done]
                changed.notify_all()

    def reader() -> None:
        stream = torch.cuda.Stream()
        for number in range(1, rounds + 1):
            with changed:
                while ready[0] < number if fixed else not ready[0]:
                    changed.wait()
                done = ready[1]
            stream.wait_event(done)
            with torch.cuda.stream(stream):
                read.append(slot.tolist()[0])
            with changed:
                taken[0] = number
                changed.notify_all()

    in_threads(sender, reader)
    return read == [float(number) for number in range(1, rounds + 1)]


@snippet("vllm#45704", "ROCm/ATOM#1956", hazards=(20,), rounds=8, explored_rounds=1)
def stored_before_computed(fixed: bool, rounds: int) -> bool:
    """The connector stores a block of the KV cache that the forward pass is still writing."""
    compute, store = torch.cuda.current_stream(), torch.cuda.Stream()
    kv_cache = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    stored = []
    for block in range(rounds):
        torch.cuda._sleep(LONG)
        kv_cache[block].fill_(block + 1)
        if fixed:
            store.wait_stream(compute)
        with torch.cuda.stream(store):
            stored.append(kv_cache[block].to("cpu", non_blocking=True))
    torch.cuda.synchronize()
    return [block.tolist()[0] for block in stored] == [block + 1.0 for block in range(rounds)]


@snippet("vllm#47282", "sgl#36738", hazards=(19,), rounds=8, explored_rounds=1)
def loaded_over_what_is_read(fixed: bool, rounds: int) -> bool:
    """A block is given to another request, and its contents are loaded while a kernel of the first still reads it."""
    compute, load = torch.cuda.current_stream(), torch.cuda.Stream()
    block = torch.zeros(4, device="cuda")
    on_host = [torch.full((4,), number + 2.0).pin_memory() for number in range(rounds)]
    block.fill_(1)
    load.wait_stream(compute)
    attended = []
    for number in range(rounds):
        torch.cuda._sleep(LONG)
        attended.append(block * 10)
        if fixed:
            load.wait_stream(compute)
        with torch.cuda.stream(load):
            block.copy_(on_host[number], non_blocking=True)
        compute.wait_stream(load)
    return [row.tolist()[0] for row in attended] == [10.0 * (number + 1) for number in range(rounds)]


@snippet("ds#7371", hazards=(18,), rounds=6, explored_rounds=2)
def buffers_swapped_twice(fixed: bool, rounds: int) -> bool:
    """ZeRO's two buffers for gradients, swapped once a bucket, and by a second code path once more.

    After two swaps the bucket is filled into the very buffer that the other stream is reducing.
    """
    compute, reduction = torch.cuda.current_stream(), torch.cuda.Stream()
    buffers = [torch.zeros(4, device="cuda") for _ in range(2)]
    reduced = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    done = [torch.cuda.Event(), torch.cuda.Event()]
    for event in done:
        event.record()  # both are free
    index = 0
    for bucket in range(rounds):
        done[1 - index].wait(compute)  # the one that comes next has to be free; this one was waited for a round ago
        buffers[index].fill_(bucket + 1)
        reduction.wait_stream(compute)
        with torch.cuda.stream(reduction):
            reduced[bucket].copy_(buffers[index])
            done[index].record()
        index = 1 - index
        if not fixed:
            index = 1 - index
    torch.cuda.synchronize()
    return reduced[:, 0].tolist() == [bucket + 1.0 for bucket in range(rounds)]
