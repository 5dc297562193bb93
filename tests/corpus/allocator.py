"""The caching allocator: memory goes back to the stream that it was allocated on, at once."""

from __future__ import annotations

import torch

from tests.corpus.registry import LONG, snippet


@snippet("ROCm/ATOM#1956", hazards=(22,), rounds=8, explored_rounds=1)
def first_write_on_another_stream(fixed: bool, rounds: int) -> bool:
    """A staging tensor is allocated on the default stream and written on a side stream first.

    Its memory was that of a tensor which the default stream still reads: on the default stream the order would be
    right, and that is all that the allocator sees to. `record_stream` says something about the *end* of a tensor, not
    about the beginning.
    """
    compute, side = torch.cuda.current_stream(), torch.cuda.Stream()
    outputs = []
    for number in range(rounds):
        activation = torch.full((4,), number + 1.0, device="cuda")
        torch.cuda._sleep(LONG)
        outputs.append(activation * 2)
        del activation
        staging = torch.empty(4, device="cuda")
        staging.record_stream(side)
        if fixed:
            side.wait_stream(compute)
        with torch.cuda.stream(side):
            staging.fill_(-1)
        compute.wait_stream(side)
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet("trec#4231", hazards=(21,), rounds=8)
def record_stream_of_the_wrong_stream(fixed: bool, rounds: int) -> bool:
    """`record_stream` names the stream that has *made* the tensor, which says nothing, instead of the one that reads
    it.
    """
    producer, reader = torch.cuda.Stream(), torch.cuda.Stream()
    outputs = []
    for number in range(rounds):
        with torch.cuda.stream(producer):
            tensor = torch.full((4,), number + 1.0, device="cuda")
        reader.wait_stream(producer)
        tensor.record_stream(reader if fixed else producer)
        with torch.cuda.stream(reader):
            torch.cuda._sleep(LONG)
            outputs.append(tensor * 2)
        del tensor
    torch.cuda.synchronize()
    return [output.tolist()[0] for output in outputs] == [2.0 * (number + 1) for number in range(rounds)]


@snippet("meg#5788", hazards=(21,), rounds=8)
def freed_before_the_side_stream_is_joined(fixed: bool, rounds: int) -> bool:
    """An activation is offloaded on a side stream and let go of, and the next layer gets its memory.

    The alternative to `record_stream`: keep the tensor until the stream that owns it has waited for the one that reads
    it.
    """
    compute, offload = torch.cuda.current_stream(), torch.cuda.Stream()
    stored = []
    activation = None
    for number in range(rounds):
        activation = torch.full((4,), number + 1.0, device="cuda")
        offload.wait_stream(compute)
        with torch.cuda.stream(offload):
            torch.cuda._sleep(LONG)
            stored.append(activation.to("cpu", non_blocking=True))
        if fixed:
            compute.wait_stream(offload)
        del activation
    torch.cuda.synchronize()
    return [host.tolist()[0] for host in stored] == [number + 1.0 for number in range(rounds)]
